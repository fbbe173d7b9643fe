"""Fourteen kinds of faults at the sources of the flights, each with what it should be called and the oracle's hypothesis.

A fault strikes the rows of one source from an instant on. It returns the rows as they would have come, and which of the rows
that came, or should have come, are faulty: those that differ from the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from flights_year import HOUR_US, PARTITIONS, Ints, Rows

Rng = np.random.Generator


@dataclass(frozen=True)
class Outcome:
    """rows : as they come. faulty_us : known times of the faulty ones, or when those that are gone should have come.

    rejected_us : known times of events that cannot be read. gone : the partition that is dropped.
    """

    rows: Rows
    faulty_us: Ints
    rejected_us: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    gone: int = -1


@dataclass(frozen=True)
class Fault:
    """kind : hard or distributional. targets : (event, fields) to choose from. verdicts : the right ones."""

    name: str
    kind: str
    targets: tuple[tuple[str, tuple[str, ...]], ...]
    verdicts: frozenset[str]
    strike: Callable[[Rows, tuple[str, ...], int, Rng], Outcome]


def _changed(rows: Rows, name: str, values: npt.NDArray[Any], at_us: int) -> Outcome:
    """One field holds other values from an instant on."""
    old, valid = rows.fields[name]
    hit = (rows.known_us >= at_us) & valid
    new = np.where(hit, values, old)
    faulty = hit & np.array(new != old, np.bool_)
    return Outcome(rows.with_field(name, new), rows.known_us[faulty])


def _unit(rows: Rows, fields: tuple[str, ...], at_us: int, rng: Rng) -> Outcome:
    name, scale, offset = fields[0], *UNIT_OF[fields[0]]
    return _changed(rows, name, rows.fields[name][0] * scale + offset, at_us)


UNIT_OF = {
    "dep_delay": (60.0, 0.0),
    "dep_delay_hours": (60.0, 0.0),
    "distance": (1.609344, 0.0),
    "temp": (5 / 9, -160 / 9),
}


def _frozen(rows: Rows, fields: tuple[str, ...], at_us: int, rng: Rng) -> Outcome:
    values = rows.fields[fields[0]][0]
    stuck = values[max(int(np.searchsorted(rows.known_us, at_us)) - 1, 0)]
    return _changed(rows, fields[0], np.full(len(rows), stuck), at_us)


def _zeroed(rows: Rows, fields: tuple[str, ...], at_us: int, rng: Rng) -> Outcome:
    values = rows.fields[fields[0]][0]
    return _changed(rows, fields[0], np.where(rng.random(len(rows)) < 0.2, 0.0, values), at_us)


def _sentinel(rows: Rows, fields: tuple[str, ...], at_us: int, rng: Rng) -> Outcome:
    values = rows.fields[fields[0]][0]
    odd = SENTINEL_OF[fields[0]][int(rng.integers(2))]
    return _changed(rows, fields[0], np.where(rng.random(len(rows)) < 0.05, odd, values), at_us)


SENTINEL_OF = {"dep_delay": (-999.0, 999.0), "distance": (-1.0, 9999.0), "dep_delay_hours": (-99.0, 33.0)}
"""The first of each is outside the declared range, the second inside."""


def _range(rows: Rows, fields: tuple[str, ...], at_us: int, rng: Rng) -> Outcome:
    values = rows.fields[fields[0]][0]
    wild = np.round(rng.uniform(3000, 9000, len(rows)), 1)
    return _changed(rows, fields[0], np.where(rng.random(len(rows)) < 0.05, wild, values), at_us)


def _swapped(rows: Rows, fields: tuple[str, ...], at_us: int, rng: Rng) -> Outcome:
    one, other = fields
    first = _changed(rows, one, rows.fields[other][0], at_us)
    second = _changed(rows, other, rows.fields[one][0], at_us)
    faulty = np.union1d(first.faulty_us, second.faulty_us)
    return replace(first, rows=first.rows.with_field(other, second.rows.fields[other][0]), faulty_us=faulty)


def _respelled(rows: Rows, fields: tuple[str, ...], at_us: int, rng: Rng) -> Outcome:
    texts = rows.fields[fields[0]][0]
    lower = np.array([text.lower() for text in texts], object)
    return _changed(rows, fields[0], lower, at_us)


def _dropped(rows: Rows, fields: tuple[str, ...], at_us: int, rng: Rng) -> Outcome:
    partition = int(rng.integers(PARTITIONS))
    gone = (rows.known_us >= at_us) & (rows.partitions == partition)
    return Outcome(rows.take(~gone), rows.known_us[gone], gone=partition)


def _silent(rows: Rows, fields: tuple[str, ...], at_us: int, rng: Rng) -> Outcome:
    gone = rows.known_us >= at_us
    return Outcome(rows.take(~gone), rows.known_us[gone])


def _duplicated(rows: Rows, fields: tuple[str, ...], at_us: int, rng: Rng) -> Outcome:
    twice = (rows.known_us >= at_us) & (rng.random(len(rows)) < 0.2)
    again = rows.take(twice)
    again = replace(again, known_us=again.known_us + 2_000_000)
    return Outcome(joined(rows, again).by_known_time(), again.known_us)


def _late(rows: Rows, fields: tuple[str, ...], at_us: int, rng: Rng) -> Outcome:
    hit = rows.known_us >= at_us
    behind = int(rng.uniform(1.2, 6) * HOUR_US) + rng.integers(0, HOUR_US // 4, len(rows))
    late = replace(rows, known_us=rows.known_us + np.where(hit, behind, 0)).by_known_time()
    return Outcome(late, np.sort(rows.known_us[hit] + behind[hit]))


def _clock(rows: Rows, fields: tuple[str, ...], at_us: int, rng: Rng) -> Outcome:
    hit = rows.known_us >= at_us
    off = HOUR_US if rng.random() < 0.5 else -HOUR_US
    return Outcome(replace(rows, time_us=rows.time_us + np.where(hit, off, 0)), rows.known_us[hit])


def _schema(rows: Rows, fields: tuple[str, ...], at_us: int, rng: Rng) -> Outcome:
    bad = (rows.known_us >= at_us) & (rng.random(len(rows)) < 0.2)
    return Outcome(rows.take(~bad), rows.known_us[bad], rows.known_us[bad])


def joined(first: Rows, second: Rows) -> Rows:
    fields = {
        name: tuple(
            np.concatenate([one, other]) for one, other in zip(first.fields[name], second.fields[name], strict=True)
        )
        for name in first.fields
    }
    return Rows(
        np.concatenate([first.known_us, second.known_us]), np.concatenate([first.time_us, second.time_us]), fields,
        np.concatenate([first.keys, second.keys]), np.concatenate([first.partitions, second.partitions]),
    )  # fmt: skip


DELAYS = (("Departure", ("dep_delay",)), ("Departure", ("dep_delay_hours",)))
MEASURED = (*DELAYS, ("Boarding", ("distance",)), ("Weather", ("temp",)))
CARRIERS = (("Boarding", ("carrier",)), ("Departure", ("carrier",)))
STREAMS = (("Departure", ()), ("Boarding", ()))

FAULTS = (
    Fault("unit error", "distributional", MEASURED, frozenset({"unit"}), _unit),
    Fault("frozen", "distributional", MEASURED, frozenset({"frozen"}), _frozen),
    Fault("20 % zeroed", "distributional", MEASURED, frozenset({"zeroed"}), _zeroed),
    Fault(
        "swapped columns", "distributional",
        (("Departure", ("dep_delay", "dep_delay_hours")), ("Weather", ("temp", "wind_speed")), ("Boarding", ("carrier", "origin"))),
        frozenset({"swapped"}), _swapped,
    ),
    Fault("dropped partition", "distributional", STREAMS, frozenset({"missing_partition"}), _dropped),
    Fault("5 % sentinel", "hard", (*DELAYS, ("Boarding", ("distance",))), frozenset({"sentinel", "bad_values"}), _sentinel),
    Fault("out of range", "hard", DELAYS, frozenset({"bad_values"}), _range),
    Fault("silent source", "hard", STREAMS, frozenset({"missing_source"}), _silent),
    Fault("duplicated events", "hard", STREAMS, frozenset({"duplicated"}), _duplicated),
    Fault("late source", "hard", STREAMS, frozenset({"late_data"}), _late),
    Fault("clock off by an hour", "hard", STREAMS, frozenset({"clock"}), _clock),
    Fault("changed spelling", "hard", CARRIERS, frozenset({"respelled"}), _respelled),
    Fault("schema change", "hard", STREAMS, frozenset({"unreadable"}), _schema),
)  # fmt: skip
