"""Sources that stop together are one incident: one broker, one network, one cause."""

from __future__ import annotations

from dataclasses import replace

import made_streams as made
import pytest
from made_streams import DAY, HOUR, START

from samestream.monitors.incidents import Finding, IncidentBook, Lineage
from samestream.streams.engine import value_arrays

LINEAGE = Lineage("M", ("delay", "temp"), {"delay": (("Flight", "delay"),), "temp": (("Weather", "temp"),)})
STRUCK = START + 24 * DAY + 9 * HOUR


def silent(stopped_us: int) -> list[Finding]:
    return [Finding("missing_source", 1.0, {}, 12.0, stopped_us=stopped_us)]


def test_what_stopped_within_an_hour_joins_and_holds_the_incident_open_until_all_are_back() -> None:
    book = IncidentBook(LINEAGE, 1.0)
    assert book.observe("Flight", silent(0), 1 * HOUR)
    assert book.observe("Weather", silent(HOUR), 2 * HOUR)
    (opened, joined) = book.records()
    assert (opened.event, opened.cause, opened.evidence["affected"]) == ("open", "Flight", ["delay"])
    assert (joined.event, joined.incident, joined.cause) == ("update", opened.incident, "Flight")
    assert joined.evidence["joined_by"] == "Weather"
    assert joined.evidence["affected"] == ["delay", "temp"]
    found = book.holding(["Weather"], HOUR, 2 * HOUR)
    assert found is not None
    assert found.identity == opened.incident
    for hour in range(3, 12):  # the first is back, the other is not
        assert book.observe("Flight", [], hour * HOUR)
        assert book.observe("Weather", silent(HOUR), hour * HOUR)
    closed = [book.observe(cause, [], hour * HOUR) for hour in range(12, 19) for cause in ("Flight", "Weather")]
    assert closed == [True] * 12 + [False] * 2
    assert [(one.event, one.at_us) for one in book.records()] == [("close", 18 * HOUR)]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(silent(0), id="stopped more than an hour before"),
        pytest.param([Finding("late_data", 1.0, {}, 12.0)], id="did not stop"),
    ],
)
def test_another_cause_is_another_incident(first: list[Finding]) -> None:
    book = IncidentBook(LINEAGE, 1.0)
    book.observe("Flight", first, HOUR)
    book.observe("Weather", silent(HOUR + 1), 3 * HOUR)
    assert [(one.event, one.cause) for one in book.records()] == [("open", "Flight"), ("open", "Weather")]


def test_one_that_stops_after_the_incident_was_closed_opens_its_own() -> None:
    book = IncidentBook(LINEAGE, 1.0)
    book.observe("Flight", silent(0), HOUR)
    for hour in (2, 8):
        book.observe("Flight", [], hour * HOUR)
    book.observe("Weather", silent(HOUR // 2), 9 * HOUR)
    assert [one.event for one in book.records()] == ["open", "close", "open"]


def test_what_is_wrong_with_a_joined_one_once_it_is_back_is_an_incident_of_its_own() -> None:
    book = IncidentBook(LINEAGE, 1.0)
    book.observe("Flight", silent(0), HOUR)
    book.observe("Weather", silent(0), 2 * HOUR)
    book.records()
    book.observe("Weather", [Finding("unit", 1.0, {}, 12.0)], 3 * HOUR)
    book.observe("Flight", silent(0), 3 * HOUR)
    (opened,) = book.records()
    assert (opened.event, opened.cause, opened.verdict) == ("open", "Weather", "unit")
    for hour in (4, 10):
        for cause in ("Flight", "Weather"):
            book.observe(cause, [], hour * HOUR)
    assert sorted((one.event, one.cause) for one in book.records()) == [("close", "Flight"), ("close", "Weather")]


def test_one_that_is_back_and_stops_again_with_another_is_one_incident() -> None:
    book = IncidentBook(LINEAGE, 1.0)
    book.observe("Flight", silent(0), HOUR)
    book.observe("Flight", [], 3 * HOUR)
    book.observe("Flight", silent(4 * HOUR), 6 * HOUR)
    book.observe("Weather", silent(4 * HOUR), 6 * HOUR)
    assert [one.event for one in book.records()] == ["open", "update"]


def test_an_incident_whose_source_stops_later_is_joined_from_then_on() -> None:
    book = IncidentBook(LINEAGE, 1.0)
    book.observe("Flight", [Finding("late_data", 1.0, {}, 12.0)], HOUR)
    book.observe("Flight", [Finding("late_data", 1.0, {}, 12.0), *silent(2 * HOUR)], 4 * HOUR)
    book.observe("Weather", silent(2 * HOUR), 4 * HOUR)
    assert {one.cause for one in book.records()} == {"Flight"}


def test_an_outage_of_all_is_told_once_whatever_the_batches_and_restarts() -> None:
    world = made.calm_world(28)

    def cut(stream: made.Stream) -> made.Stream:
        """An outage of thirty hours: longer than any night and gap of the weather."""
        kept = (stream.known_us < STRUCK) | (stream.known_us >= STRUCK + 30 * HOUR)
        return made.Stream(
            stream.known_us[kept], stream.time_us[kept], {name: column[kept] for name, column in stream.columns.items()}
        )

    kept = (world.vectors.known_us < STRUCK) | (world.vectors.known_us >= STRUCK + 30 * HOUR)
    parts = {name: cut(getattr(world, name)) for name in ("departures", "weather", "vectors")}
    struck = replace(world, scores=world.scores[kept], **parts)
    told = made.watched(struck)
    assert [one.event for one in told] == ["open", "update", "close"]
    assert {one.incident for one in told} == {told[0].incident}
    assert {told[0].cause, told[1].evidence["joined_by"]} == {"Departure", "Weather"}
    packed = made.watched(
        struck, step_us=HOUR // 3, between_steps=lambda watch: value_arrays.unpack(value_arrays.pack(watch))
    )
    assert packed == told
