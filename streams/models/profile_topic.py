"""The profiles topic: what runs of offsets add to the profile of a subject in a window of event time, and their sum.

A *piece* is of one subject, segment and window, and of the offsets from the start of a *chunk* (`CHUNK` offsets of one
partition, aligned) to some end. What lies between two offsets of a log never changes, so of two pieces that begin at the same
chunk the one that ends later holds all that the other does. That is why pieces may be written twice, by several instances,
in any order and again after a kill: the profile of a window is the same.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.schemas.expressions import Kind
from samestream.streams.columns import ColumnData, Int64Array
from samestream.streams.models.category_profile import CategoryProfile, Profile, merged, read_profile
from samestream.streams.models.profile import NumericProfile
from samestream.streams.transport import Fetched, Outgoing

CHUNK = 16_384
"""Offsets in a chunk. An instance that takes a partition over reads it again from the start of its last chunk."""
_CODEC = Codec(records.PROFILE)
VALUES, LENGTHS, AGES = "values", "lengths", "seconds before the event"


def profile_column(column: ColumnData, kind: Kind, time_us: Int64Array) -> tuple[str, Profile]:
    """What is counted of a column, and the profile of it.

    Numbers and conditions by value, text by value; lists and maps by length; times by how many seconds they lie before the
    event, for as instants they only grow. time_us : event times, shape (rows,)
    """
    values, valid = column.values, column.valid
    if kind is Kind.STRING:
        return VALUES, CategoryProfile.of(np.array([str(value) for value in values.tolist()], object), valid)
    if kind in (Kind.LIST, Kind.MAP):
        return LENGTHS, NumericProfile.of(np.array([len(value) for value in values.tolist()], np.float64), valid)
    if kind is Kind.TIME:
        return AGES, NumericProfile.of((time_us - values) / 1e6, valid)
    return VALUES, NumericProfile.of(values.astype(np.float64), valid)


@dataclass(frozen=True, eq=False)
class Piece:
    """What a run of offsets adds. subject : ``Model.feature``, ``Model.score`` or ``Event.field``. segment : "" for all rows.

    start, end : of the offsets, the start of a chunk and the next offset; times in microseconds
    """

    subject: str
    segment: str
    what: str
    fingerprint: str
    window_start_us: int
    window_end_us: int
    topic: str
    partition: int
    start: int
    end: int
    profile: Profile

    def record(self, topic: str) -> Outgoing:
        """As a record of the profiles topic. Pieces of whole chunks have keys that no shorter one has."""
        whole = "" if self.end < self.start + CHUNK else "+"
        said = (self.subject, self.segment, self.fingerprint, self.window_start_us, self.window_end_us)
        key = "|".join(map(str, (*said, self.topic, self.partition, self.start))) + whole
        value = {
            "subject": self.subject,
            "segment": self.segment,
            "what": self.what,
            "fingerprint": self.fingerprint,
            "window_start": self.window_start_us,
            "window_end": self.window_end_us,
            "topic": self.topic,
            "partition": self.partition,
            "start": self.start,
            "end": self.end,
            "rows": self.profile.n,
            "profile": zlib.compress(json.dumps(self.profile.to_json(), separators=(",", ":")).encode()),
        }
        return Outgoing(topic, key.encode(), _CODEC.encode(value), max(self.window_start_us, 1000))


@dataclass(frozen=True)
class Stored:
    """A piece as it lies in the topic. ends : exclusive. Its profile is read when it is asked for."""

    what: str
    end: int
    rows: int
    packed: bytes

    def profile(self) -> Profile:
        """The profile. Raises SchemaError if it was counted by a rule unknown here."""
        return read_profile(json.loads(zlib.decompress(self.packed)))


Window = tuple[int, int]
Run = tuple[str, int, int]  # topic, partition, start


class ProfileBook:
    """Every profile of a topic, as far as it was read: the pieces of each window, each run of offsets once."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[str, str, str], dict[Window, dict[Run, Stored]]] = {}

    @classmethod
    def read(cls, fetched: Iterable[Fetched]) -> ProfileBook:
        """From the records of the topic."""
        book = cls()
        for part in fetched:
            for value in part.values:
                book.add(value)
        return book

    def add(self, value: bytes | None) -> None:
        """Take a record; what is none of ours is passed over."""
        if value is None or not value.startswith(_CODEC.header):
            return
        one: Mapping[str, Any] = _CODEC.decode(value)
        windows = self._pieces.setdefault((one["subject"], one["segment"], one["fingerprint"]), {})
        runs = windows.setdefault((one["window_start"], one["window_end"]), {})
        run = one["topic"], one["partition"], one["start"]
        before = runs.get(run)
        if before is None or before.end < one["end"]:
            runs[run] = Stored(one["what"], one["end"], one["rows"], one["profile"])

    def subjects(self) -> list[tuple[str, str, str]]:
        """(subject, segment, fingerprint) of everything profiled, sorted."""
        return sorted(self._pieces)

    def windows(self, subject: str, segment: str = "", fingerprint: str = "") -> Iterator[tuple[Window, Profile]]:
        """The profile of each window, oldest first."""
        for window, runs in sorted(self._pieces.get((subject, segment, fingerprint), {}).items()):
            yield window, _sum(runs[run].profile() for run in sorted(runs))

    def over(
        self,
        subject: str,
        segment: str = "",
        fingerprint: str = "",
        from_us: int | None = None,
        to_us: int | None = None,
    ) -> Profile | None:
        """The profile over all windows that begin in ``[from_us, to_us)``; None where there is none."""
        found = [
            profile
            for (start_us, _), profile in self.windows(subject, segment, fingerprint)
            if (from_us is None or start_us >= from_us) and (to_us is None or start_us < to_us)
        ]
        return _sum(found) if found else None

    def what(self, subject: str, segment: str = "", fingerprint: str = "") -> str:
        """What is counted of a subject."""
        windows = self._pieces.get((subject, segment, fingerprint), {})
        return next((stored.what for runs in windows.values() for stored in runs.values()), VALUES)


def _sum(profiles: Iterable[Profile]) -> Profile:
    total: Profile | None = None
    for profile in profiles:
        total = profile if total is None else merged(total, profile)
    assert total is not None
    return total
