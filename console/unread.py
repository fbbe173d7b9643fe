"""What lies unread before a role, in known time: from its oldest record to its newest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from samestream.console.backlog import TAIL
from samestream.streams.transport import Partition, Transport, read_until

Stretch = tuple[int, int]
"""Offsets of a partition, from the first to before the second."""


class Span(NamedTuple):
    """Known time of the oldest and of the newest of some records, in microseconds UTC."""

    oldest_us: int
    newest_us: int


class Unread:
    """Asks for spans, and remembers what was found: what is committed between two offsets does not change."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._found: dict[tuple[Partition, Stretch], Span | None] = {}

    def spans(self, positions: Mapping[str, Mapping[Partition, int]]) -> dict[str, Span | None]:
        """Per role, what lies behind its positions; None where there is nothing.

        Of a long stretch only the first and the last `TAIL` offsets are read: known time hardly ever goes back further.
        """
        every = sorted({part for mine in positions.values() for part in mine})
        stops = {part: end.stable for part, end in self._transport.ends(every).items()}
        starts = self._transport.starts(every)
        asked = {
            role: [
                (part, (max(position, starts[part]), stops[part]))
                for part, position in mine.items()
                if max(position, starts[part]) < stops[part]
            ]
            for role, mine in positions.items()
        }
        wanted = list(dict.fromkeys(one for mine in asked.values() for one in mine))
        known = {one: self._found[one] for one in wanted if one in self._found}
        fresh = [one for one in wanted if one not in known]
        while fresh:  # a reader is at one place of a partition at a time, and roles are at several
            together = dict(fresh)
            known |= self._read(together)
            fresh = [one for one in fresh if one not in known]
        self._found = known
        return {role: _joined([known[one] for one in mine]) for role, mine in asked.items()}

    def _read(self, stretches: Mapping[Partition, Stretch]) -> dict[tuple[Partition, Stretch], Span | None]:
        heads = {part: (start, min(start + TAIL, stop)) for part, (start, stop) in stretches.items()}
        tails = {part: (stop - TAIL, stop) for part, (start, stop) in stretches.items() if stop - start > TAIL}
        found: dict[Partition, list[Span]] = {part: [] for part in stretches}
        for part, span in (*self._ends_of(heads), *self._ends_of(tails)):
            found[part].append(span)
        return {(part, stretch): _joined(found[part]) for part, stretch in stretches.items()}

    def _ends_of(self, stretches: Mapping[Partition, Stretch]) -> list[tuple[Partition, Span]]:
        if not stretches:
            return []
        reader = self._transport.reader()
        reader.assign({part: start for part, (start, _) in stretches.items()})
        return [
            (fetched.partition, Span(int(fetched.known_us.min()), int(fetched.known_us.max())))
            for fetched in read_until(reader, {part: stop for part, (_, stop) in stretches.items()}, patience_s=5.0)
        ]


def _joined(spans: list[Span] | list[Span | None]) -> Span | None:
    there = [span for span in spans if span is not None]
    if not there:
        return None
    return Span(min(span.oldest_us for span in there), max(span.newest_us for span in there))
