"""Faults strike what they say from when they say, and leave everything else as it was."""

import numpy as np
import pytest

from samestream.examples import faults, flights_data
from samestream.examples.event_batch import EventBatch
from samestream.schemas.errors import SettingsError

HOUR_US = 3_600_000_000
START = flights_data.local_instant_us(1, 11, hour=12)


@pytest.fixture(scope="module")
def january() -> dict[str, EventBatch]:
    return flights_data.load([1])


def column(batch: EventBatch, name: str) -> list[object]:
    return list(batch.columns[name])


def contents(batch: EventBatch) -> tuple[object, ...]:
    return {name: list(values) for name, values in batch.columns.items()}, list(batch.key), batch.known_us.tolist()


def test_every_fault_has_a_description_and_all_but_none_a_cause():
    assert set(faults.FAULT_DESCRIPTIONS) == set(faults.FAULTS)
    assert set(faults.FAULT_CAUSES) == set(faults.FAULTS) - {"none"}


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_spared_streams_are_the_same_objects_and_the_input_is_unchanged(fault, january):
    before = {name: contents(batch) for name, batch in january.items()}
    after = faults.inject(fault, january, START)
    struck = {name for name in january if after[name] is not january[name]}
    assert struck == {faults.FAULT_CAUSES[fault].partition(".")[0]} if fault != "none" else not struck
    assert after is not january
    assert list(after) == list(january)
    assert {name: contents(batch) for name, batch in january.items()} == before


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_nothing_changes_before_the_start(fault, january):
    after = faults.inject(fault, january, START)
    for name, batch in january.items():
        rows = np.flatnonzero(batch.known_us < START)
        assert contents(after[name].take(np.arange(len(rows)))) == contents(batch.take(rows))


def test_unit_turns_minutes_into_seconds(january):
    healthy, sick = january["Departure"], faults.inject("unit", january, START)["Departure"]
    struck = healthy.known_us >= START
    assert 0 < struck.sum() < len(struck)
    ratio = np.where(struck, 60.0, 1.0)
    assert np.array_equal(sick.columns["dep_delay"], np.asarray(healthy.columns["dep_delay"]) * ratio)
    for name in ("flight_id", "dep_delay_hours", "at"):
        assert column(sick, name) == column(healthy, name)
    assert np.array_equal(sick.known_us, healthy.known_us)


def test_frozen_repeats_the_last_value_before_the_start(january):
    healthy, sick = january["Departure"], faults.inject("frozen", january, START)["Departure"]
    first = int(np.searchsorted(healthy.known_us, START))
    delays = np.asarray(sick.columns["dep_delay"])
    assert np.all(delays[first:] == np.asarray(healthy.columns["dep_delay"])[first - 1])
    assert len(np.unique(np.asarray(healthy.columns["dep_delay"])[first:])) > 100
    assert column(sick, "dep_delay_hours") == column(healthy, "dep_delay_hours")


def test_late_departures_are_known_three_hours_later_and_in_order(january):
    healthy, sick = january["Departure"], faults.inject("late", january, START)["Departure"]
    assert np.all(np.diff(sick.known_us) >= 0)
    delay = {
        key: 3 * HOUR_US if known >= START else 0 for key, known in zip(healthy.key, healthy.known_us, strict=True)
    }
    expected = {key: known + delay[key] for key, known in zip(healthy.key, healthy.known_us.tolist(), strict=True)}
    assert dict(zip(sick.key, sick.known_us.tolist(), strict=True)) == expected
    assert not np.any((sick.known_us >= START) & (sick.known_us < START + 3 * HOUR_US))  # three hours of silence
    for name in ("dep_delay", "at"):
        happened = dict(zip(healthy.key, column(healthy, name), strict=True))
        assert column(sick, name) == [happened[key] for key in sick.key]


def test_missing_weather_ends_at_the_start(january):
    healthy, sick = january["Weather"], faults.inject("missing", january, START)["Weather"]
    assert len(sick) == int((healthy.known_us < START).sum()) > 0
    assert sick.known_us.max() < START


def test_a_fault_starts_at_noon_on_the_11th_of_the_last_month():
    assert faults.default_start_us(range(1, 4)) == flights_data.local_instant_us(3, 11, hour=12)
    assert faults.default_start_us([1]) == START
    with pytest.raises(SettingsError, match="a fault needs a month"):
        faults.default_start_us([])


def test_faults_that_cannot_be_injected(january):
    with pytest.raises(SettingsError) as caught:
        faults.inject("fire", january, START)
    assert str(caught.value) == (
        "fault: no such fault\n"
        "Found: 'fire'\n"
        "Expected: none, unit, frozen, late, missing\n"
        "Hint: choose one of those; `none` leaves everything as it was."
    )
    with pytest.raises(SettingsError, match="not among the streams"):
        faults.inject("missing", {"Departure": january["Departure"]}, START)
    with pytest.raises(SettingsError, match="no value can stick"):
        faults.inject("frozen", january, flights_data.month_start_us(1))
