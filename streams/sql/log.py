"""The log in SQL: triggers and events as tables of a database, enriched by reference tables, and what a model looks up."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Protocol

from samestream.schemas.errors import FeatureLogError
from samestream.streams.plan import Input, Lookup, ModelPlan, Plan
from samestream.streams.sql.lookup import SqlLookup
from samestream.streams.sql.words import Database


class LogDatabase(Database, Protocol):
    """A database that can read the log.

    A staged table holds an input's columns in its dialect's types, NaN as null; `_partition`, `_offset` and the marks as the
    log has them; `_row`, which tells rows apart; and `_time`, the event time in microseconds since 1970.
    """

    def stage_triggers(self, table: str, input: Input, marks: Sequence[str]) -> None:
        """Make the table of what asks for vectors."""

    def stage_events(self, table: str, input: Input, marks: Sequence[str]) -> None:
        """Make the table of an input's events."""


class SqlLog:
    """The log for one model: staged when it is first needed, enriched before it is read.

    events : the names of the events that the database can stage
    ranked : whether a row that asks knows only events that were applied, and ranked before it.
    """

    def __init__(
        self, database: LogDatabase, plan: Plan, model: ModelPlan, events: Collection[str], *, ranked: bool
    ) -> None:
        self._database, self._plan, self._model, self._ranked = database, plan, model, ranked
        self._events = events
        self._staged: dict[str, str] = {}
        self._lookups = 0

    def looked_up(self, slack: bool = False) -> tuple[str, list[str], set[str]]:
        """The table of triggers, those of all that the model looks up, for `joined`; and which of the columns are inexact.

        Raises FeatureLogError if events are missing.
        """
        model = self._model
        self._database.stage_triggers("triggers", self._plan.inputs[model.trigger], ("_rank",) if self._ranked else ())
        asking = self._enriched("triggers", model.trigger)
        answers, inexact = list[str](), set[str]()
        for lookup in model.lookups:
            found, unsure = self._look_up(asking, lookup, slack)
            answers += found
            inexact |= unsure
        return asking, answers, inexact

    def _look_up(self, asking: str, lookup: Lookup, slack: bool = False) -> tuple[list[str], set[str]]:
        """Make tables of `_row` and the columns of a lookup: their names, and which of the columns are inexact."""
        table = self._plan.tables[lookup.table]
        once = self._plan.inputs[table.event] if self._is_read_once(table.event) else None
        stage = partial(self._event, table.event)
        found = SqlLookup(self._database, table, lookup, asking, stage, ranked=self._ranked, slack=slack, once=once)
        self._lookups += 1
        return found.run(f"lookup_{self._lookups}"), found.inexact

    def _is_read_once(self, name: str) -> bool:
        """Whether one lookup alone reads the events, as they lie in the log."""
        if (
            name not in self._events
            or name in self._staged
            or any(part.event == name for part in self._plan.enrichments)
        ):
            return False
        lookups = [*self._model.lookups, *(part.lookup for part in self._plan.enrichments)]
        return sum(self._plan.tables[lookup.table].event == name for lookup in lookups) == 1

    def _event(self, name: str) -> str:
        if name not in self._events:
            raise FeatureLogError(
                "events that features are computed from are missing",
                where=f"{self._model.name}.{name}",
                found=", ".join(sorted(self._events)) or "none",
                hint=f"read {self._plan.inputs[name].topic} from the feature log too.",
            )
        if name not in self._staged:
            marks = ("_rank", "_applied") if self._ranked else ()
            # numbered, for SQL takes names for the same that differ only in the case of a letter
            table = f"event_{list(self._plan.inputs).index(name)}"
            self._database.stage_events(table, self._plan.inputs[name], marks)
            self._staged[name] = self._enriched(table, name)
        return self._staged[name]

    def _enriched(self, table: str, event: str) -> str:
        """The table with what reference tables say at each row's instant."""
        dialect = self._database.words.dialect
        for part in self._plan.enrichments:
            if part.event == event:
                answers, _ = self._look_up(table, part.lookup)
                columns = ", ".join(
                    f"{dialect.expression(value)} AS {dialect.quoted(name)}" for name, value in part.outputs.items()
                )
                wider = f"{table}_{self._lookups}"
                self._database.join(wider, table, answers, f"{table}.*, {columns}")
                table = wider
        return table


def joined(base: str, answers: Sequence[str]) -> str:
    """What stands after FROM: the rows of a table, each with its row of every table of answers."""
    return base + "".join(f" LEFT JOIN {name} USING (_row)" for name in answers)
