"""The general path of window state: the algebra of any aggregate, over the tiles, in the order and by the blocks of the kernel.

What a window holds, and in which order it is merged, is DESIGN section 2, as in `engine.tiles`; here a state is whatever the
aggregate says it is. And here are sessions, whose start depends on the events: what is kept of them is an algebra like any.

An answer is kept per key and window. As long as nothing earlier than its instant is applied and neither end of the window
crosses a tile boundary, the next query only adds the events since; beyond that it merges blocks that are kept, too.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from samestream.schemas.aggregates import Aggregate
from samestream.schemas.algebra import At
from samestream.schemas.errors import RecoveryError
from samestream.schemas.windows import Session, Window

ROWS = -1  # the input that every row has
NEVER = -(2**63)
_NOTHING: Any = object()  # where there is no tile
_LEAST_SWEEP = 10_000


@dataclass(frozen=True)
class Asked:
    """An aggregate of an input column (from 0) over a window."""

    aggregate: Aggregate
    input: int
    window: Window


class Algebra(Protocol):
    """What is kept of the events of a tile: see `schemas.algebra.Aggregate`."""

    def zero(self) -> Any:
        """The state of no event."""

    def add(self, state: Any, value: Any, at: At) -> Any:
        """The state with one more event."""

    def merge(self, left: Any, right: Any) -> Any:
        """The state of two stretches of time."""


class Span(NamedTuple):
    """The rows of a stretch of time: the first, the last, and the first of the session that the last is in."""

    first_us: int
    last_us: int
    since_us: int


class Sessions:
    """The algebra of a key's last session, whose neighbours are at most ``gap_us`` apart; None of no row.

    Rows come in the order of time, but within a tile, which is no longer than the gap.
    """

    def __init__(self, gap_us: int) -> None:
        self._gap_us = gap_us

    def zero(self) -> Span | None:
        """See `Algebra.zero`."""
        return None

    def add(self, state: Span | None, value: Any, at: At) -> Span:
        """See `Algebra.add`."""
        t = at[0]
        if state is not None and t < state.last_us:
            return Span(min(state.first_us, t), state.last_us, min(state.since_us, t))
        found = self.merge(state, Span(t, t, t))
        assert found is not None
        return found

    def merge(self, left: Span | None, right: Span | None) -> Span | None:
        """See `Algebra.merge`."""
        if left is None or right is None:
            return right if left is None else left
        goes_on = right.since_us == right.first_us and right.first_us - left.last_us <= self._gap_us
        return Span(left.first_us, right.last_us, left.since_us if goes_on else right.since_us)


@dataclass(frozen=True)
class _Track:
    """One algebra over one input in tiles of one length; several aggregates and windows may read it."""

    algebra: Algebra
    input: int
    tile_us: int


class _Tiles:
    """The tiles of one key and track: states by tile, and those of aligned blocks of 2**level tiles, made when asked for."""

    __slots__ = ("algebra", "blocks", "covered", "indices", "states")

    def __init__(self, algebra: Algebra) -> None:
        self.algebra = algebra
        self.indices: list[int] = []
        self.states: dict[int, Any] = {}
        self.blocks: dict[tuple[int, int], Any] = {}
        self.covered = NEVER  # no kept block reaches so far

    def add(self, index: int, value: Any, at: At) -> None:
        """Add an event to its tile."""
        state = self.states.get(index, _NOTHING)
        if state is _NOTHING:
            state = self.algebra.zero()
            if self.indices and index < self.indices[-1]:
                insort(self.indices, index)
            else:
                self.indices.append(index)
        self.states[index] = self.algebra.add(state, value, at)
        if index < self.covered:
            self._forget(index)

    def span(self, tail: int, head: int) -> Any:
        """The state of the tiles ``[tail, head)``, by the canonical blocks from the left; ``_NOTHING`` if there is none."""
        indices = self.indices
        first = bisect_left(indices, tail)
        if first == len(indices) or indices[first] >= head:
            return _NOTHING
        total = _NOTHING
        while tail < head:
            level = (head - tail).bit_length() - 1
            if tail:
                level = min(level, (tail & -tail).bit_length() - 1)
            total = self._joined(total, self._block(level, tail >> level))
            tail += 1 << level
        return total

    def prune(self, oldest: int) -> None:
        """Drop the tiles before one, and the blocks they are in, which no window can ask for any more."""
        count = bisect_left(self.indices, oldest)
        for index in self.indices[:count]:
            del self.states[index]
            self._forget(index)
        del self.indices[:count]

    def _block(self, level: int, number: int) -> Any:
        indices = self.indices
        first = bisect_left(indices, number << level)
        if first == len(indices) or indices[first] >= (number + 1) << level:
            return _NOTHING
        if level == 0 or first + 1 == len(indices) or indices[first + 1] >= (number + 1) << level:
            return self.states[indices[first]]  # the only tile
        found = self.blocks.get((level, number), _NOTHING)
        if found is _NOTHING:
            found = self._joined(self._block(level - 1, 2 * number), self._block(level - 1, 2 * number + 1))
            self.blocks[level, number] = found
            self.covered = max(self.covered, (number + 1) << level)
        return found

    def _joined(self, left: Any, right: Any) -> Any:
        if left is _NOTHING or right is _NOTHING:
            return right if left is _NOTHING else left
        return self.algebra.merge(left, right)

    def _forget(self, index: int) -> None:
        """Drop the blocks that a tile is in."""
        if self.blocks:
            for level in range(1, 64):
                self.blocks.pop((level, index >> level), None)


class _Answer(NamedTuple):
    tail: int
    head: int
    t_us: int
    state: Any


class _Key:
    """The state of one key: tiles by track, the rows of the open heads by (time, position), and the last answers."""

    __slots__ = ("answers", "places", "rows", "settled_us", "tiles")

    def __init__(self, tracks: Sequence[_Track]) -> None:
        self.tiles = [_Tiles(track.algebra) for track in tracks]
        self.places: list[At] = []
        self.rows: list[tuple[Any, ...]] = []
        self.answers: dict[tuple[int, Window | None], _Answer] = {}
        self.settled_us = NEVER

    def keep(self, at: At, row: tuple[Any, ...]) -> None:
        """Keep a row for the heads it may be in."""
        place = bisect_right(self.places, at)
        self.places.insert(place, at)
        self.rows.insert(place, row)

    def state(self, track: _Track, number: int, window: Window | None, tail: int, t_us: int) -> Any:
        """The state of a track from tile ``tail`` to the instant; ``window`` tells apart what asks for it."""
        head, asks = t_us // track.tile_us, (number, window)
        held = self.answers.get(asks)
        if held is not None and held.tail == tail and held.head == head and held.t_us <= t_us:
            state, since_us = held.state, held.t_us
        else:
            state, since_us = self.tiles[number].span(tail, head), head * track.tile_us
            if state is _NOTHING:
                state = track.algebra.zero()
        for place in range(bisect_left(self.places, (since_us,)), len(self.places)):
            at = self.places[place]
            if at[0] >= t_us:
                break
            value = True if track.input == ROWS else self.rows[place][track.input]
            if value is not None:
                state = track.algebra.add(state, value, at)
        self.answers[asks] = _Answer(tail, head, t_us, state)
        return state

    def prune(self, oldest: Sequence[int], since_us: int) -> None:
        """Drop the tiles before ``oldest``, by track, and the rows before ``since_us``."""
        for tiles, index in zip(self.tiles, oldest, strict=True):
            tiles.prune(index)
        count = bisect_left(self.places, (since_us,))
        del self.places[:count], self.rows[:count]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of it."""
        return not self.places and not any(tiles.indices for tiles in self.tiles)


class AlgebraTable:
    """The states of many keys, advanced by operations in their merged order: the twin of `tiles.TileTable`.

    How the operations are split into calls of :meth:`run`, and when state is pruned or taken through a snapshot, changes no
    bit of any answer.
    """

    def __init__(self, asked: Sequence[Asked]) -> None:
        self._asked = tuple(asked)
        self._tracks: list[_Track] = []
        self._kept_us: list[int] = []  # by track: how far before an instant its windows reach
        self._reads: list[tuple[int, int]] = []  # by aggregate: its track and, of a session, that of the rows
        numbers: dict[Any, int] = {}
        for part in self._asked:
            window, rows = part.window, -1
            if isinstance(window, Session):
                name = ("rows", window.gap_us, window.tile_us)
                rows = self._track(numbers, name, Sessions(window.gap_us), ROWS, window)
            track = self._track(numbers, (*part.aggregate.states(), part.input), part.aggregate, part.input, window)
            self._reads.append((track, rows))
        self._head_us = max((track.tile_us for track in self._tracks), default=0)
        self._keys: dict[int, _Key] = {}
        self._horizon_us = NEVER
        self._updates = 0

    def run(
        self,
        kind: Sequence[int],
        key: Sequence[int],
        t_us: Sequence[int],
        position: Sequence[int],
        horizon_us: Sequence[int],
        rows: Sequence[tuple[Any, ...]],
        starts_us: Sequence[Sequence[int] | None],
        readers: Sequence[Sequence[int]],
    ) -> list[list[Any]]:
        """Apply operations in order, and return the answers of the queries among them.

        kind : 0 adds the row; n reads at instant ``t_us`` the aggregates ``readers[n - 1]``, by their places in ``asked``.
        key, t_us, position, horizon_us : as for `tiles.TileTable.run`.
        rows : the values of the input columns, None for null; not read for queries.
        starts_us : per aggregate, where its window begins at each operation, at the latest at ``t_us``, to be floored to the
            tile; not read for updates; None for sessions.

        Returns per aggregate a list of the results, one per query, None where it was not read.
        """
        answers: list[list[Any]] = [[None] * sum(1 for each in kind if each) for _ in self._asked]
        query = 0
        for op, reader in enumerate(kind):
            if reader == 0:
                self._update(key[op], (t_us[op], position[op]), rows[op], horizon_us[op])
                continue
            held = self._keys.get(key[op])
            if held is not None:
                held.settled_us = max(held.settled_us, t_us[op])
            for number in readers[reader - 1]:
                starts = starts_us[number]
                start = starts[op] if starts is not None else None
                answers[number][query] = self._result(number, held, t_us[op], start)
            query += 1
        if kind:
            self._horizon_us = horizon_us[-1]
        if self._updates > max(_LEAST_SWEEP, 2 * len(self._keys)):
            self._sweep()
        return answers

    def __len__(self) -> int:
        """How many keys are held."""
        return len(self._keys)

    def reachable_keys(self) -> list[int]:
        """Return the ids of keys of which a later query may still find something; the others are held no more."""
        self._sweep()
        return list(self._keys)

    def snapshot(self) -> dict[str, Any]:
        """Return the state as plain values that pickle; :meth:`restore` takes them."""
        self._sweep()
        return {
            "asked": self._meaning(),
            "horizon_us": self._horizon_us,
            "keys": {
                number: ([dict(tiles.states) for tiles in held.tiles], list(held.places), list(held.rows))
                for number, held in self._keys.items()
            },
        }

    @classmethod
    def restore(cls, asked: Sequence[Asked], snapshot: Mapping[str, Any]) -> AlgebraTable:
        """Return the table a snapshot was taken of. Raises RecoveryError if it is of other aggregates."""
        table = cls(asked)
        if snapshot.get("asked") != table._meaning():
            raise RecoveryError(
                "A snapshot of window state is of another plan.",
                found=snapshot.get("asked"),
                expected=table._meaning(),
                hint="Replay the log instead; a snapshot only shortens that.",
            )
        table._horizon_us = snapshot["horizon_us"]
        for number, (states, places, rows) in snapshot["keys"].items():
            held = table._keys[number] = _Key(table._tracks)
            held.places, held.rows = list(places), list(rows)
            for tiles, taken in zip(held.tiles, states, strict=True):
                tiles.indices, tiles.states = sorted(taken), dict(taken)
        return table

    def _track(self, numbers: dict[Any, int], name: Any, algebra: Algebra, input: int, window: Window) -> int:
        number = numbers.setdefault((name, window.tile_us), len(self._tracks))
        if number == len(self._tracks):
            self._tracks.append(_Track(algebra, input, window.tile_us))
            self._kept_us.append(0)
        self._kept_us[number] = max(self._kept_us[number], window.longest_us)
        return number

    def _update(self, number: int, at: At, row: tuple[Any, ...], horizon_us: int) -> None:
        held = self._keys.get(number)
        if held is None:
            held = self._keys[number] = _Key(self._tracks)
        self._updates += 1
        for track, tiles, kept_us in zip(self._tracks, held.tiles, self._kept_us, strict=True):
            value = True if track.input == ROWS else row[track.input]
            index = at[0] // track.tile_us
            if value is not None and (index + 1) * track.tile_us > horizon_us - kept_us:
                tiles.add(index, value, at)
        if at[0] >= horizon_us - self._head_us:
            held.keep(at, row)
        if at[0] < held.settled_us:
            held.answers.clear()
            held.settled_us = NEVER
        if len(held.places) % 256 == 255:  # a busy key does not wait for the sweep
            self._prune(held, horizon_us)

    def _result(self, number: int, held: _Key | None, t_us: int, start_us: int | None) -> Any:
        aggregate, window = self._asked[number].aggregate, self._asked[number].window
        if held is None:
            return aggregate.result(aggregate.zero(), t_us)
        track, rows = self._reads[number]
        if isinstance(window, Session):
            start_us = self._session_us(held, rows, window, t_us)
        if start_us is None:
            return aggregate.result(aggregate.zero(), t_us)
        return aggregate.result(held.state(self._tracks[track], track, window, start_us // window.tile_us, t_us), t_us)

    def _session_us(self, held: _Key, rows: int, window: Session, t_us: int) -> int | None:
        """The first row of the session that the instant is in; None if it is in none."""
        span = held.state(self._tracks[rows], rows, window, (t_us - window.over_us) // window.tile_us, t_us)
        return span.since_us if span is not None and t_us - span.last_us <= window.gap_us else None

    def _prune(self, held: _Key, horizon_us: int) -> None:
        oldest = [
            (horizon_us - kept_us) // track.tile_us for track, kept_us in zip(self._tracks, self._kept_us, strict=True)
        ]
        held.prune(oldest, horizon_us - self._head_us)

    def _sweep(self) -> None:
        """Drop what no window can reach any more, of every key."""
        self._updates = 0
        for number, held in list(self._keys.items()):
            self._prune(held, self._horizon_us)
            if held.is_empty:
                del self._keys[number]

    def _meaning(self) -> list[Any]:
        return [[part.aggregate.meaning(), part.input, part.window.meaning()] for part in self._asked]
