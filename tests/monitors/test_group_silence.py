"""A group of keys that falls silent while the others speak."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import made_streams as made
import numpy as np
import pytest
from made_streams import DAY, HOUR, MINUTE, START

from samestream.monitors.checks import Filters
from samestream.monitors.declared import Declared, Quality, Silence, silence
from samestream.monitors.group_silence import GroupSilence
from samestream.monitors.incidents import IncidentRecord, Lineage
from samestream.monitors.source_spec import SourceSpec
from samestream.monitors.watch import Watch
from samestream.schemas import Event, Field, event_time, field, key
from samestream.schemas.errors import DeclarationError
from samestream.streams.engine import value_arrays

CARRIERS = np.array(["UA", "AA", "DL", "B6", "HA", None], object)
SHARES = [0.4, 0.3, 0.2, 0.095, 0.002, 0.003]
PER_HOUR = 40
STRUCK = START + 24 * DAY + 9 * HOUR
LINEAGE = Lineage("M", ("delay",), {"delay": (("Flight", "delay"), ("Flight", ""))})


BY = (("Flight", "carrier"),)


def declared(filters: Filters = Filters(), by: tuple[tuple[str, str], ...] = BY, *, values: bool = True) -> Declared:  # noqa: B008
    features = (Silence("2h", by), *([Quality()] if values else []))
    return Declared(made.LateArrival, 1.0, features, (), filters)  # type: ignore[arg-type]


def flights(days: int, seed: int = 3) -> tuple[Any, Any, Any]:
    """Known time, carrier and delay of flights by day, few at night; AA does not fly from 18 to 24 UTC."""
    draw = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    each = draw.poisson(np.where(hours % 24 < 5, 2, PER_HOUR))
    hour = np.repeat(hours, each)
    known = np.sort(START + hour * HOUR + draw.integers(0, HOUR, len(hour)))
    carrier = CARRIERS[draw.choice(len(CARRIERS), len(hour), p=SHARES)]
    asleep = (carrier == "AA") & ((known - START) % DAY >= 18 * HOUR)
    return known[~asleep], carrier[~asleep], np.round(draw.gamma(2, 10, len(known)))[~asleep]


def told(
    known: Any, carrier: Any, delay: Any, step_us: int = 3 * HOUR, asked: Declared | None = None, packed: bool = False
) -> tuple[list[IncidentRecord], Watch]:
    """What a watch says, fed in steps."""
    spec = SourceSpec("Flight", ("delay",), {"delay": -60.0}, {"delay": 900.0}, 0, group_fields=("carrier",))
    watch = Watch(LINEAGE, [spec], asked or declared())
    records: list[IncidentRecord] = []
    end = int(known[-1])
    for at_us in range(START, end, step_us):
        rows = slice(*np.searchsorted(known, [at_us, at_us + step_us]).tolist())
        there = np.array([name is not None for name in carrier[rows]], np.bool_)
        columns = {"delay": (delay[rows], np.ones(len(there), np.bool_)), "carrier": (carrier[rows], there)}
        watch.on_events("Flight", known[rows], known[rows], columns)
        watch.source_clock(at_us + step_us)
        if packed:
            watch = value_arrays.unpack(value_arrays.pack(watch))  # type: ignore[assignment]
        records += watch.records()
    return records, watch


def without(names: Sequence[str], from_us: int, until_us: int, days: int = 27) -> tuple[Any, Any, Any]:
    known, carrier, delay = flights(days)
    gone = np.isin(carrier, list(names)) & (known >= from_us) & (known < until_us)
    return known[~gone], carrier[~gone], delay[~gone]


@pytest.mark.parametrize("seed", [3, 4])
def test_groups_that_speak_as_they_always_did_are_calm(seed: int) -> None:
    """One that does not speak in the evening is among them, and one that hardly ever does is told as blind."""
    records, watch = told(*flights(45, seed))
    assert records == []
    assert "Flight: silence of carrier=HA" in watch.budget["blind"]
    assert "Flight: silence of carrier=DL" not in watch.budget["blind"]


def test_one_that_falls_silent_is_named_and_closes_when_it_is_back() -> None:
    records, _ = told(*without(["DL"], STRUCK, STRUCK + 10 * HOUR))
    assert [(one.event, one.cause, one.verdict) for one in records] == [
        ("open", "Flight", "missing_group"),
        ("close", "Flight", "missing_group"),
    ]
    evidence = records[0].evidence
    assert (evidence["by"], evidence["silent"], evidence["affected"]) == ("carrier", ["DL"], ["delay"])
    assert 2 <= evidence["silent_hours"] <= 2.5
    assert evidence["nats"] > evidence["limit_nats"] >= 10
    assert STRUCK + 1.9 * HOUR <= records[0].at_us <= STRUCK + 2.5 * HOUR  # its last event was some minutes before
    assert STRUCK + 16 * HOUR <= records[1].at_us <= STRUCK + 17 * HOUR


def test_two_that_fall_silent_are_one_incident_that_is_told_anew() -> None:
    known, carrier, delay = without(["DL"], STRUCK, STRUCK + 9 * HOUR)
    gone = (carrier == "UA") & (known >= STRUCK + 4 * HOUR) & (known < STRUCK + 9 * HOUR)
    records, _ = told(known[~gone], carrier[~gone], delay[~gone])
    assert [one.event for one in records] == ["open", "update", "close"]
    assert records[0].evidence["silent"] == ["DL"]
    assert set(records[1].evidence["silent"]) == {"DL", "UA"}


def test_a_source_that_falls_silent_is_no_group_that_does() -> None:
    known, carrier, delay = flights(27)
    kept = (known < STRUCK) | (known >= STRUCK + 6 * HOUR)
    records, _ = told(known[kept], carrier[kept], delay[kept])
    assert {one.verdict for one in records} == {"missing_source"}
    assert [one.event for one in records] == ["open", "close"]


def test_one_that_never_comes_back_is_given_up() -> None:
    # values are not watched: weeks of them may well have a false alarm, which the budget allows
    records, watch = told(*without(["DL"], STRUCK, START + 60 * DAY, days=44), asked=declared(values=False))
    assert [one.event for one in records] == ["open", "close"]
    assert START + 38 * DAY <= records[1].at_us <= START + 40 * DAY
    assert "Flight: silence of carrier=DL" in watch.budget["blind"]


def test_batches_and_restarts_change_nothing() -> None:
    struck = without(["DL"], STRUCK, STRUCK + 5 * HOUR, days=26)
    expected, _ = told(*struck)
    assert len(expected) == 2
    assert told(*struck, step_us=7 * MINUTE)[0] == expected
    assert told(*struck, step_us=11 * HOUR, packed=True)[0] == expected


def test_a_field_of_too_many_values_is_not_watched_and_told() -> None:
    known, _, delay = flights(24)
    names = np.array([f"f{number}" for number in range(len(known))], object)
    records, watch = told(known, names, delay)
    assert records == []
    assert "Flight: silence by carrier: more than 512 values" in watch.budget["blind"]


class Flight(Event, topic="f"):
    flight: Field[str] = key()
    carrier: Field[str] = field()
    gate: Field[int] = field()
    delay: Field[float] = field()
    at: Field[datetime] = event_time()


def test_whole_numbers_are_groups() -> None:
    watch = GroupSilence("gate", 2 * HOUR)
    assert watch.number(np.array([7.0, 12.0, 7.0, 0.0]), np.array([True, True, True, False])).tolist() == [0, 1, 0, -1]


def test_groups_are_declared_by_fields() -> None:
    assert silence("2h", by=Flight.carrier) == Silence("2h", (("Flight", "carrier"),))
    assert silence("2h", by=(Flight.carrier, Flight.gate)).fields_of("Flight") == ("carrier", "gate")
    for wrong in (Flight.delay, "carrier", Flight.carrier.upper()):
        with pytest.raises(DeclarationError, match="by a field of an event"):
            silence("2h", by=wrong)  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="events that feed the model"):
        Watch(LINEAGE, [], declared(by=(("Tide", "x"),)))
