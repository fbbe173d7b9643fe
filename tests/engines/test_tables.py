"""Reference tables as of an instant, chains over them, updates and tombstones: on every engine the oracle's values."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import harness
import pytest
from engines import check
from harness import SECOND_US, START_US
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Read

from samestream.schemas.app import load
from samestream.schemas.avro import Codec
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.lowering import compile_app
from samestream.streams.transport import Outgoing

FLEET = load(str(Path(__file__).parents[1] / "support" / "fleet.py"))
PLAN = compile_app(FLEET)
GROUND = load(str(Path(__file__).parents[1] / "support" / "ground.py"))


def us(second: float) -> int:
    return START_US + round(second * SECOND_US)


def plane(tail: str, second: float, year: int | None, maker: str | None = "a", weight: float = 60.0) -> Outgoing:
    return harness.encode(PLAN, "Plane", tail, us(second), tail=tail, year=year, maker=maker, weight=weight)


def scrapped(tail: str, second: float) -> Outgoing:
    return Outgoing(PLAN.events["Plane"].topic, tail.encode(), None, us(second))


def maker(name: str, second: float, is_big: bool, *, since: float | None = None) -> Outgoing:
    valid_us = us(second if since is None else since)
    return harness.encode(PLAN, "Maker", name, us(second), name=name, is_big=is_big, since=valid_us)


def flight(
    number: int, second: float, tail: str | None = "n1", delay: float | None = 5.0, *, at: float | None = None
) -> Outgoing:
    time_us = us(second if at is None else at)
    return harness.encode(PLAN, "Flight", number, us(second), flight=number, tail=tail, delay=delay, at=time_us)


def run(records: list[Outgoing], engine: Any, folder: Path) -> list[Read]:
    return check(records, engine, folder, FLEET, PLAN)


def test_the_latest_record_before_the_instant_counts_nulls_too(engine: Any, tmp_path: Path) -> None:
    run(
        [
            flight(1, 0),  # no plane is known yet
            plane("n1", 1, 1990),
            flight(2, 1, at=1),  # known at the very instant: not before it
            flight(3, 2),
            plane("n1", 3, None, None),  # the year is no longer known
            flight(4, 4),
            plane("n1", 5, 2001),
            flight(5, 6, tail=None),
            flight(6, 7, at=4.5),  # as of its own time: the year is unknown, though the next one is in the log
        ],
        engine,
        tmp_path,
    )


def test_a_tombstone_deletes_until_the_next_record(engine: Any, tmp_path: Path) -> None:
    run(
        [plane("n1", 1, 1990), flight(1, 2), scrapped("n1", 3), flight(2, 4), plane("n1", 5, 1999), flight(3, 6)],
        engine,
        tmp_path,
    )


def test_a_record_may_be_valid_long_before_it_is_known(engine: Any, tmp_path: Path) -> None:
    log = run(
        [
            plane("n1", 0, 1990),
            maker("a", 1, True),
            flight(1, 10_000),
            maker("a", 10_001, False, since=-1e6),  # older than what is known: it changes nothing
            flight(2, 10_002),
            maker("b", 10_003, True, since=-1e6),
            plane("n1", 10_004, 1991, "b"),
            flight(3, 10_005),
        ],
        engine,
        tmp_path,
    )
    assert {read.decision for read in log} == {"applied"}


def test_a_chain_groups_by_what_was_known_at_each_event(engine: Any, tmp_path: Path) -> None:
    run(
        [
            plane("n1", 0, 1990, "a"),
            plane("n2", 0, 2000, "b", 10.0),
            flight(1, 10, "n1", 10.0),
            flight(2, 11, "n2", 20.0),
            plane("n1", 12, 1990, "b"),  # sold: its earlier flight stays with maker a
            flight(3, 13, "n1", 40.0),
            flight(4, 14, "n2", None),
        ],
        engine,
        tmp_path,
    )


def test_an_event_that_comes_hours_later_than_a_request_may_still_asks_for_its_plane(
    engine: Any, tmp_path: Path
) -> None:
    plan = compile_app(GROUND)

    def of(event: str, key: Any, second: float, **values: Any) -> Outgoing:
        return harness.encode(plan, event, key, us(second), **values)

    def boarding(number: int, second: float) -> Outgoing:
        return of("Boarding", number, second, flight=number, tail="n1", at=us(second))

    def departure(number: int, second: float, delay: float, *, at: float) -> Outgoing:
        return of("Departure", number, second, flight=number, tail="n1", delay=delay, at=us(at))

    records = [
        of("Plane", "n1", -9e5, tail="n1", maker="a", year=1990),
        departure(1, 0, 5.0, at=0),
        boarding(2, 40_000),
        of("Plane", "n1", 40_001, tail="n1", maker="b", year=1991),
        departure(3, 40_002, 7.0, at=30_000),  # within its 6 hours, though a request may be 10 minutes late
        boarding(4, 40_003),  # its plane is another maker's by now: also found where the model does not name it
        departure(5, 40_004, 9.0, at=40_002.5),
        boarding(6, 40_005),
    ]
    log = check(records, engine, tmp_path, GROUND, plan)
    assert {read.decision for read in log} == {"applied"}


def test_the_table_that_a_chain_goes_through_is_a_source_of_the_feature() -> None:
    model = compile_app(GROUND).models["LongDelay"]
    assert model.lineage["maker_delay"] == (("Plane", "maker"), ("Departure", "tail"), ("Departure", "delay"))


def test_what_was_known_before_the_first_event_survives_a_restart() -> None:
    transport, codec = harness.fresh(FLEET, PLAN), Codec(PLAN.models["LongDelay"].vector_schema)
    for records in (
        [plane("n1", 0, 1990), maker("a", 0, True, since=-1e9)],
        [flight(1, 10)],
        [flight(2, 20)],
    ):
        harness.send(transport, records)
        harness.work_off(transport, FeatureTask(PLAN), PLAN)  # a new processor, that recovers from the journal
    topic = PLAN.models["LongDelay"].topics["features"]
    vectors = [codec.decode(value or b"") for _, _, value, _ in harness.contents(transport, [topic])[topic]]
    found = {vector["entity"]: (vector["year"], vector["by_big_maker"]) for vector in vectors}
    assert found == {1: (1990, True), 2: (1990, True)}


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), count=st.integers(20, 90))
def test_any_log(engine: Any, tmp_path_factory: pytest.TempPathFactory, seed: int, count: int) -> None:
    draw = random.Random(seed)
    second, records = 0.0, []
    for number in range(count):
        second += draw.choice([0, 0.001, 1, draw.random() * 900])
        tail, kind = f"n{draw.randrange(3)}", draw.random()
        if kind < 0.2:
            records.append(plane(tail, second, draw.choice([None, 1990, 2**62]), draw.choice([None, "a", "b"])))
        elif kind < 0.25:
            records.append(scrapped(tail, second))
        elif kind < 0.4:
            since = draw.choice([second, second - 5000, second - draw.random() * 100])
            records.append(maker(draw.choice("ab"), second, draw.random() < 0.5, since=since))
        else:
            at = second - draw.choice([0, 0, draw.random() * 900])
            chosen = draw.choice([tail, tail, None])
            records.append(flight(number, second, chosen, draw.choice([None, -0.0, draw.uniform(-9, 99)]), at=at))
    run(records, engine, tmp_path_factory.mktemp("log"))
