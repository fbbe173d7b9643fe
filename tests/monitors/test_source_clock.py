"""What moves the clock of the sources: events, and pulses where the log is live."""

from __future__ import annotations

import random

import numpy as np
import pytest

from samestream.monitors.source_clock import LIVE_US, ON_THE_WAY_US, SourceClock
from samestream.streams.engine import value_arrays

MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
NOON_US = 1_790_000_000_000_000 // DAY_US * DAY_US + 12 * HOUR_US
Read = tuple[str, int]


def after(*read: Read, clock: SourceClock | None = None) -> SourceClock:
    """The clock after events and pulses, each so many microseconds after noon."""
    clock = SourceClock() if clock is None else clock
    known_us = np.array([NOON_US + at_us for _, at_us in read], np.int64)
    clock.read(known_us, np.array([kind == "pulse" for kind, _ in read], np.bool_))
    return clock


def stands(*read: Read) -> int:
    """Where it stands, in microseconds after noon."""
    return after(*read).known_us - NOON_US


CASES: list[tuple[str, list[Read], int]] = [
    ("events alone", [("event", 0), ("event", 5)], 5),
    ("live: an event between two pulses", [("pulse", -HOUR_US), ("event", 0), ("pulse", HOUR_US)], HOUR_US),
    ("live: the event is an hour before the first pulse", [("event", -LIVE_US), ("pulse", 0)], 0),
    ("not live: it is more than an hour before", [("event", -LIVE_US - 1), ("pulse", 0)], -LIVE_US - 1),
    ("live however long it lasts", [("event", 0), ("pulse", 1), ("pulse", 3 * DAY_US)], 3 * DAY_US),
    ("a history is replayed", [("event", -400 * DAY_US), ("pulse", 0), ("event", -399 * DAY_US)], -399 * DAY_US),
    (
        "a backlog is caught up with: no pulse counts until it is near",
        [("event", -2), ("pulse", 0), ("event", 5 * HOUR_US), ("pulse", 9 * HOUR_US), ("event", 8 * HOUR_US - 1)],
        8 * HOUR_US - 1,
    ),
    (
        "and then they count again",
        [("event", 5 * HOUR_US), ("pulse", 9 * HOUR_US), ("event", 8 * HOUR_US), ("pulse", 10 * HOUR_US)],
        10 * HOUR_US,
    ),
    ("an event ahead of the broker's clock", [("event", 0), ("pulse", 1), ("event", 9), ("pulse", 5)], 9),
    ("one source is loaded with its past", [("event", 0), ("pulse", 1), ("event", -99 * DAY_US), ("pulse", 2)], 2),
]


@pytest.mark.parametrize(("read", "wanted_us"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_where_the_clock_stands(read: list[Read], wanted_us: int) -> None:
    is_by_pulse = ("pulse", wanted_us) in read
    events = max(at_us for kind, at_us in read if kind == "event")
    assert stands(*read) == (max(events, wanted_us - ON_THE_WAY_US) if is_by_pulse else wanted_us)


def test_pulses_before_any_event_say_nothing() -> None:
    assert after(("pulse", 0), ("pulse", HOUR_US)).known_us == SourceClock().known_us


def test_it_never_goes_back_and_neither_batches_nor_a_restart_matter() -> None:
    draw = random.Random(5)
    for _ in range(200):
        read: list[Read] = []
        for _ in range(draw.randrange(1, 30)):
            jump_us = draw.choice([MINUTE_US, HOUR_US, DAY_US])
            last_us = read[-1][1] if read else 0
            read.append((draw.choice(["event", "pulse"]), last_us + draw.randrange(-jump_us, 2 * jump_us)))
        whole, parts, before_us = after(*read), SourceClock(), SourceClock().known_us
        start = 0
        while start < len(read):
            stop = draw.randrange(start + 1, len(read) + 1)
            parts = value_arrays.unpack(value_arrays.pack(after(*read[start:stop], clock=parts)))
            assert parts.known_us >= before_us
            start, before_us = stop, parts.known_us
        assert vars(parts) == vars(whole)
