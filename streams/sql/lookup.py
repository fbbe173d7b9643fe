"""A lookup in SQL: a table of the plan, read at every trigger's instant by the trigger's keys.

A window is a run of *blocks*: aligned spans of ``2**level`` *grains* of event time, each summarised once per key. A trigger
joins the O(log) blocks that tile its window by equality of (key, level, block), and only in the one grain it falls in, and
in blocks that hold an event it did not know, smaller blocks and at last single events. So neither hot keys nor long
windows multiply.

These are the tables, made one after the other:

========  ==============================================================================================================
keys      every key that is asked for, numbered
asked     of each trigger with a key: _row, key, instant (its rank)
kept      of each event with such a key: key, t, what aggregates read of it (its rank)
blocks    key, level, block, parts of summaries (the greatest rank)
bag_0...  key, level, block, item, n
head      of each trigger's open grain: _row, instant, parts of summaries
span      one window: of each trigger, from which grain to which
pieces_0  one window: _row, instant, rank, key, level, block, parts, torn: whether it holds an event not known
========  ==============================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from samestream.schemas.expressions import Column
from samestream.schemas.windows import Window
from samestream.streams.plan import Input, Lookup, Table
from samestream.streams.sql import frames
from samestream.streams.sql import windows as sql_windows
from samestream.streams.sql.aggregates import Bag, Summary, filled
from samestream.streams.sql.difference import slack_of
from samestream.streams.sql.frames import Framed
from samestream.streams.sql.words import Database

CROWD = 16  # events of one key in one grain, above which grains are cut finer
PART_ROWS = {True: 2_000_000, False: 250_000}
"""About as many rows, of those that ask and of events, are worked on at once: where all windows are frames, and where not."""
TORN_LEVELS = 6  # a torn block is cut in 64 at once
_BLOCK = "key, level, block"
_COUNTED = "1"  # where rows alone are counted


@dataclass
class _Answer:
    """A column of the lookup, summarised: ``merge`` is over the named parts of blocks."""

    name: str
    merge: str
    empty: str


@dataclass
class _BagAnswer:
    """A column of the lookup, from a bag of items of a column of the events."""

    name: str
    column: str
    bag: int
    rule: Bag


class SqlLookup:
    """One lookup: a table of the plan, for the rows of ``asking``, from the rows of ``events``.

    asking : a table of `_row`, `_time` and the lookup's key columns, if ranked also of `_rank`
    events : makes a table of `_partition`, `_offset`, `_time` and the event's columns, if ranked also of `_rank` and `_applied`
    ranked : whether a row that asks knows only events of a lower rank.
    once : the events, where nobody else reads them
    slack : whether to say, in columns named by `slack_of`, how far off values may be; ``inexact`` are those that have one.
    """

    def __init__(
        self,
        database: Database,
        table: Table,
        lookup: Lookup,
        asking: str,
        events: Callable[[], str],
        *,
        ranked: bool,
        slack: bool = False,
        once: Input | None = None,
    ) -> None:
        self._database, self._lookup, self._ranked, self._slack = database, lookup, ranked, slack
        self._table, self._asking, self._stage, self._once = table, asking, events, once
        self._events = ""
        self._words, self._quoted = database.words, database.words.dialect.quoted
        self.inexact: set[str] = set()
        self._framed: list[Framed] = []
        self._answers: dict[Window, list[_Answer]] = {}
        self._bag_answers: dict[Window, list[_BagAnswer]] = {}
        self._columns: dict[str, str] = {}  # what aggregates read of an event: name -> SQL
        self._newest: set[str] = set()  # the columns of which they also read the latest time in a block
        self._parts: dict[str, str] = {}  # what is kept of a block: SQL -> name; several aggregates may share a part
        self._bags: dict[tuple[str, str, int | None], int] = {}  # (column, item, exact) -> number
        for part, name in zip(table.aggregates, lookup.columns, strict=False):
            if not name:
                continue
            fed, window = table.inputs[part.input], table.windows[part.window].window
            value = self._words.dialect.expression(fed.value) if fed.value is not None else _COUNTED
            if fed.where is not None:
                value = f"CASE WHEN {self._words.dialect.expression(fed.where)} THEN {value} END"
            self._columns[f"x{part.input}"] = value
            self._add(name, window, f"x{part.input}", self._words.aggregate(part.aggregate))

    def run(self, name: str) -> list[str]:
        """Make tables of `_row` and the looked-up columns, one per window; a trigger with a null key has no row.

        Keys know nothing of each other, so where there are many rows they are divided by a hash of the key, and one part is
        worked on after the other: what is held in memory does not grow with the log.

        Returns their names, which begin with ``name``.
        """
        if found := self._latest(name):
            return found
        self._events = self._stage()
        parts = self._part_count()
        if parts == 1:
            return self._run(name, "")
        found = []
        for part in range(parts):
            asked = [self._quoted(key) for key in self._lookup.keys]
            assert self._words.in_part is not None
            tables = self._run(f"part_{name}", self._words.in_part(asked, part, parts))
            found = [table.removeprefix("part_") for table in tables]
            for whole, table in zip(found, tables, strict=True):
                (self._database.add if part else self._database.make)(whole, f"SELECT * FROM {table}")
        return found

    def _latest(self, name: str) -> list[str]:
        """`run` where all that is asked for is the latest value of one column: of events that are read once, and not kept."""
        framed, table = self._framed, self._table
        if self._once is None or self._answers or not framed or len(table.by) != 1:
            return []
        fed = [part for part, column in zip(table.aggregates, self._lookup.columns, strict=False) if column]
        values = {table.inputs[part.input] for part in fed}
        (value,) = values if len(values) == 1 else (None,)
        if not all(column.by_latest for column in framed) or value is None or value.where is not None:
            return []
        if not isinstance(value.value, Column):
            return []
        self._match_asked("")
        if not self._database.latest("latest", "k0", self._once, table.by[0], value.value.name):
            return []
        return [frames.of_latest(self._database, f"{name}_latest", framed)]

    def _part_count(self) -> int:
        """In how many parts keys are divided: by what there is, so that the same rows are always divided alike."""
        if self._words.in_part is None:
            return 1
        rows = sum(self._database.number(f"SELECT count(*) FROM {table}") for table in (self._asking, self._events))
        return math.ceil(rows / PART_ROWS[not self._answers]) or 1

    def _run(self, name: str, part: str) -> list[str]:
        """See `run`; part : a condition on those that ask, "" if all do."""
        self._match_keys(part)
        found = frames.run(self._database, name, self._framed) if self._framed else []
        if not self._answers:
            return found
        self._grain_us = self._chosen_grain_us()
        spans = [self._span(number, window) for number, window in enumerate(self._answers)]
        self._levels = max(int(self._database.number(f"SELECT max(hi - lo) FROM {span}")) for span in spans)
        self._levels = max(self._levels, 0).bit_length()
        self._summarise()
        found += [
            self._answer(f"{name}_{number}", span, window)
            for number, (span, window) in enumerate(zip(spans, self._answers, strict=True))
        ]
        return found

    def _add(self, name: str, window: Window, column: str, rule: Summary | Bag) -> None:
        if self._slack and rule.slack:
            self.inexact.add(name)
        if isinstance(rule, Bag):
            self._answers.setdefault(window, [])
            bag = self._bags.setdefault((column, rule.item, rule.exact), len(self._bags))
            self._bag_answers.setdefault(window, []).append(_BagAnswer(name, column, bag, rule))
            return
        text = rule.latest or rule.framed
        if self._words.frames and not self._ranked and text:
            constant = _COUNTED if self._columns[column] == _COUNTED else ""
            self._framed.append(Framed(name, window, column, constant, text, rule.empty, by_latest=bool(rule.latest)))
            if rule.latest:
                self._columns["number"] = "(CAST(_partition AS HUGEINT) << 48) + _offset"
            if self._slack and rule.slack is not None:
                self._add(slack_of(name), window, column, rule.slack)
            return
        self._answers.setdefault(window, [])
        if any("{newest}" in text for text in rule.parts):
            self._newest.add(column)
        if any("{at}" in text for text in rule.parts):
            self._columns["place"] = self._words.place
        parts = {}
        for number, text in enumerate(rule.parts):
            read = filled(text, x=column, at="place", t="t", newest=f"newest_{column}")
            parts[str(number)] = self._parts.setdefault(read, f"s{len(self._parts)}")
        merge = filled(rule.merge, instant="instant", **parts)
        self._answers[window].append(_Answer(name, merge, rule.empty))
        if self._slack and rule.slack is not None:
            self._add(slack_of(name), window, column, rule.slack)

    def _match_asked(self, part: str) -> None:
        """Number the keys asked for, and make `asked` of the triggers that have one."""
        asked = [self._quoted(name) for name in self._lookup.keys]
        there = " AND ".join([*(f"{name} IS NOT NULL" for name in asked), *([part] if part else [])])
        numbered = ", ".join(f"{name} AS k{i}" for i, name in enumerate(asked))
        rank = ", _rank AS rank" if self._ranked else ""
        key = self._words.key([f"k{i}" for i in range(len(asked))])
        self._database.make(
            "keys", f"SELECT *, {key} AS key FROM (SELECT DISTINCT {numbered} FROM {self._asking} WHERE {there})"
        )
        self._database.make(
            "asked", f"SELECT _row, key, _time AS instant{rank} FROM {self._asking} JOIN keys ON {_same(asked)}"
        )

    def _match_keys(self, part: str) -> None:
        """The same; and make `kept` of the events that have one of these keys."""
        self._match_asked(part)
        by = [self._quoted(name) for name in self._table.by]
        rank = ", _rank AS rank" if self._ranked else ""
        columns = "".join(f", {text} AS {name}" for name, text in self._columns.items())
        self._database.make(
            "plain" if self._bags else "kept",
            f"SELECT key, _time AS t{rank}{columns} FROM {self._events} JOIN keys ON {_same(by)}"
            + (" WHERE _applied" if self._ranked else ""),
        )
        if self._bags:
            self._find_items()

    def _find_items(self) -> None:
        """Make `kept` of `plain`, with the item of every bag; and the numbered values that items stand for."""
        columns, joins, numbered = "", "", dict.fromkeys(column for column, item, _ in self._bags if not item)
        for column in numbered:
            self._database.make(f"items_{column}", self._words.items(column, "plain"))
            joins += f" LEFT JOIN items_{column} ON {column} = items_{column}.x"
        for (column, item, _), number in self._bags.items():
            found = filled(item, x=column) if item else f"items_{column}.item"
            columns += f", {found} AS item_{number}"
        self._database.make("kept", f"SELECT plain.*{columns} FROM plain{joins}")

    def _chosen_grain_us(self) -> int:
        """The span of a block of level 0: as long as tiles allow, halved while events of one key crowd in it."""
        grain_us = math.gcd(*(window.tile_us for window in self._answers))
        grains = f"SELECT CAST(count(*) AS DOUBLE) AS n FROM kept GROUP BY key, {self._words.floored('t', grain_us)}"
        crowd = self._database.number(f"SELECT sum(n * n) / sum(n) FROM ({grains})")
        while crowd > CROWD and grain_us % 2 == 0:
            grain_us, crowd = grain_us // 2, crowd / 2
        return grain_us

    def _span(self, number: int, window: Window) -> str:
        """Make the table of the grains [lo, hi) of one window; before the first event no grain is worth a look."""
        rank = ", rank" if self._ranked else ""
        earliest = int(self._database.number(f"SELECT min({self._grain('t')}) FROM kept"))
        lo = f"{self._words.floored('start', window.tile_us)} * {window.tile_us // self._grain_us}"
        self._database.make(
            f"span_{number}",
            f"SELECT _row, key{rank}, greatest({lo}, {earliest}) AS lo, {self._grain('instant')} AS hi "
            f"FROM ({sql_windows.starts(window, self._ranked, self._words)})",
        )
        return f"span_{number}"

    def _summarise(self) -> None:
        """Make `blocks`, the bags, and of each trigger's last, open grain its events and `head`, their parts."""
        spread = f"SELECT *, {self._grain('t')} >> level AS block FROM kept, ({self._every_level})"
        self._database.make("blocks", self._summed(spread, _BLOCK, rank=self._ranked))
        for (column, _, exact), number in self._bags.items():
            counted = (
                f"SELECT {_BLOCK}, item_{number} AS item, count(*) AS n FROM ({spread}) "
                f"WHERE item_{number} IS NOT NULL GROUP BY {_BLOCK}, item_{number}"
            )
            self._database.make(f"bag_{number}", counted if exact is None else _bounded(counted, column, exact))
        before = " AND e.rank < a.rank" if self._ranked else ""
        self._database.make(
            "single",
            f"SELECT a._row, e.* FROM asked a JOIN kept e "
            f"ON a.key = e.key AND {self._grain('a.instant')} = {self._grain('e.t')} WHERE e.t < a.instant{before}",
        )
        self._database.make("head", self._summed("SELECT * FROM single", "_row"))

    def _answer(self, name: str, span: str, window: Window) -> str:
        """Make the table of one window."""
        pieces, leaves = self._pieces(span)
        values, joins = "", ""
        answers = self._answers[window]
        if answers:
            parts = ", ".join(self._parts.values())
            union = [f"SELECT _row, {parts} FROM head", f"SELECT _row, {parts} FROM ({pieces})"]
            union += [self._summed(leaves, "_row")] if leaves else []
            merged = ", ".join(f"{answer.merge} AS {self._quoted(answer.name)}" for answer in answers)
            united, by = f"({' UNION ALL '.join(union)})", "_row"
            if any("instant" in answer.merge for answer in answers):
                united, by = f"{united} JOIN asked USING (_row)", "_row, instant"
            joins += f" LEFT JOIN (SELECT _row, {merged} FROM {united} GROUP BY {by}) USING (_row)"
            for answer in answers:
                column = self._quoted(answer.name)
                values += f", coalesce({column}, {answer.empty}) AS {column}"
        counted = set()
        for number, bag_answer in enumerate(self._bag_answers.get(window, ())):
            bag, rule, column = bag_answer.bag, bag_answer.rule, self._quoted(bag_answer.name)
            if bag not in counted:
                self._count(bag, pieces, leaves)
                counted.add(bag)
            query = filled(rule.value, bag=f"counted_{bag}", items=f"items_{bag_answer.column}")
            self._database.make(f"valued_{number}", query)
            joins += f" LEFT JOIN valued_{number} USING (_row)"
            values += f", coalesce(valued_{number}.value, {rule.empty}) AS {column}"
            if self._slack and rule.slack:
                off = filled(rule.slack, value=f"valued_{number}.value")
                values += f", coalesce({off}, 0) AS {self._quoted(slack_of(bag_answer.name))}"
        self._database.make(name, f"SELECT _row{values} FROM asked{joins}")
        return name

    def _pieces(self, span: str) -> tuple[str, str]:
        """Queries for the blocks that a window is made of, and for the events that are read one by one, if any.

        A run [lo, hi) of grains is tiled by the blocks that a segment tree would visit: on each level at most one at
        either end, namely where the end is odd. A block with an event that the trigger did not know is torn: cut into
        smaller ones, of which those that are torn too are cut again, down to single events.
        """
        columns = ", ".join(self._parts.values())
        rank, torn = (", a.rank", ", b.rank >= a.rank AS torn") if self._ranked else ("", "")
        chosen = f"a._row, {', '.join(f'a.{name}' for name in _BLOCK.split(', '))}{rank}{torn}"
        parts = f"{', ' if columns else ''}{columns}"
        ends = (
            f"SELECT *, -((-lo) >> level) AS first, hi >> level AS last FROM {span}, ({self._every_level}) "
            "WHERE -((-lo) >> level) < hi >> level"
        )
        cover = (
            f"WITH ends AS ({ends}) SELECT *, first AS block FROM ends WHERE first & 1 = 1 "
            "UNION ALL SELECT *, last - 1 AS block FROM ends WHERE last & 1 = 1"
        )
        self._database.make("pieces_0", f"SELECT {chosen}{parts} FROM ({cover}) a JOIN blocks b USING ({_BLOCK})")
        if not self._ranked:
            return "SELECT * FROM pieces_0", ""
        tables = ["pieces_0"]
        while self._database.number(f"SELECT max(level) FROM {tables[-1]} WHERE torn") > 0:
            down = f"least(level, {TORN_LEVELS})"
            size = f"(CAST(1 AS BIGINT) << {down})"
            smaller = self._words.each(f"block * {size}", f"(block + 1) * {size}")
            cut = (
                f"SELECT _row, key, rank, level - {down} AS level, {smaller} AS block "
                f"FROM {tables[-1]} WHERE torn AND level > 0"
            )
            tables.append(f"pieces_{len(tables)}")
            self._database.make(tables[-1], f"SELECT {chosen}{parts} FROM ({cut}) a JOIN blocks b USING ({_BLOCK})")
        every = " UNION ALL ".join(f"SELECT * FROM {table}" for table in tables)
        leaves = (
            f"SELECT a._row, e.* FROM ({every}) a JOIN kept e ON a.key = e.key AND a.block = {self._grain('e.t')} "
            "WHERE a.torn AND a.level = 0 AND e.rank < a.rank"
        )
        return f"SELECT * FROM ({every}) WHERE NOT torn", leaves

    def _count(self, bag: int, pieces: str, leaves: str) -> None:
        """Make the table of how often each item of a bag occurs in one window."""
        union = [f"SELECT _row, item, n FROM ({pieces}) JOIN bag_{bag} USING ({_BLOCK})"]
        for source in ("single", f"({leaves})")[: 2 if leaves else 1]:
            union.append(f"SELECT _row, item_{bag} AS item, 1 AS n FROM {source} WHERE item_{bag} IS NOT NULL")
        self._database.make(
            f"counted_{bag}",
            f"SELECT _row, item, CAST(sum(n) AS BIGINT) AS n FROM ({' UNION ALL '.join(union)}) GROUP BY _row, item",
        )

    def _summed(self, source: str, by: str, rank: bool = False) -> str:
        """A query for the parts of every group of events."""
        if self._newest:
            newest = "".join(
                f", max(CASE WHEN {column} IS NOT NULL THEN t END) OVER (PARTITION BY {by}) AS newest_{column}"
                for column in sorted(self._newest)
            )
            source = f"SELECT *{newest} FROM ({source})"
        parts = "".join(f", {text} AS {name}" for text, name in self._parts.items())
        return f"SELECT {by}{', max(rank) AS rank' if rank else ''}{parts} FROM ({source}) GROUP BY {by}"

    def _grain(self, time: str) -> str:
        return self._words.floored(time, self._grain_us)

    @property
    def _every_level(self) -> str:
        return self._words.levels(self._levels)


def _same(names: Sequence[str]) -> str:
    return " AND ".join(f"{name} = k{i}" for i, name in enumerate(names))


def _bounded(counted: str, column: str, exact: int) -> str:
    """Blocks of more than ``exact`` items hold only the greatest height of each register (`Bag.exact`)."""
    return (
        f"WITH counted AS ({counted}), sized AS (SELECT *, count(*) OVER (PARTITION BY {_BLOCK}) AS size FROM counted) "
        f"SELECT {_BLOCK}, item, n FROM sized WHERE size <= {exact} UNION ALL "
        f"SELECT {_BLOCK}, -(register * 64 + max(height)), 1 FROM sized JOIN items_{column} USING (item) "
        f"WHERE size > {exact} GROUP BY {_BLOCK}, register"
    )
