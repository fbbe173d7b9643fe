"""Served and expected vectors, matched while they are read: what differs is found, and nothing else is held."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from samestream.monitors.vector_match import VectorMatch
from samestream.streams.transport import Fetched, Partition

PLACE = Partition("vectors", 0)


def record(number: int, known_us: int | None = None) -> tuple[bytes, bytes, int]:
    return b"key", str(number).encode(), number if known_us is None else known_us


def matched(expected: list[tuple[bytes, bytes, int]], served: list[tuple[bytes, bytes, int]]) -> VectorMatch:
    def read() -> Iterator[Fetched]:
        for first in range(0, len(served), 7):
            part = served[first : first + 7]
            keys, values, known = ([row[column] for row in part] for column in range(3))
            offsets = np.arange(first, first + len(part))
            yield Fetched(PLACE, offsets=offsets, keys=keys, values=values, known_us=np.array(known, np.int64))

    match = VectorMatch(1, read(), lambda key, value: value, lambda value: ("t", 0, int(value.split(b"!")[0])))
    for row in expected:
        match.expect(0, (row, ("t", 0, int(row[1])), True))
        match.match()
        assert sum(map(len, match._expected)) + sum(map(len, match._held)) <= 7
    match.finish()
    return match


@pytest.mark.parametrize(
    ("change", "ours", "theirs", "misplaced"),
    [
        (lambda rows: rows, [], [], 0),
        (lambda rows: [*rows[:40], *rows[41:]], [b"40"], [], 0),
        (lambda rows: [*rows[:40], rows[39], *rows[40:]], [], [b"39"], 0),
        (lambda rows: [*rows[:40], (b"key", b"40!", 40), *rows[41:]], [b"40"], [b"40!"], 0),
        (lambda rows: [*rows[:40], rows[41], rows[40], *rows[42:]], [b"40"], [b"40"], 1),
    ],
    ids=["equal", "missing", "twice", "other", "swapped"],
)
def test_what_differs_is_left_and_all_after_it_matches(change, ours, theirs, misplaced) -> None:  # type: ignore[no-untyped-def]
    rows = [record(number) for number in range(100)]
    match = matched(rows, change(rows))
    assert [trigger[2] for _, trigger, _ in match.ours[0]] == [int(value) for value in ours]
    assert [value for _, value, _ in match.theirs[0]] == theirs
    assert match.misplaced == misplaced
    assert match.was_matched(("t", 0, 39))
    assert not match.was_matched(("t", 0, 100))


def test_at_one_known_time_as_many_are_left_as_there_are() -> None:
    rows = [record(number, number // 4) for number in range(100)]
    match = matched(rows, [*rows[:40], *rows[41:]])
    assert len(match.ours[0]) == 4
    assert len(match.theirs[0]) == 3
