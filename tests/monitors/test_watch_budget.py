"""The budget as a watch tells it, and a watch that is packed in the middle of its work."""

import made_streams as made
import numpy as np

from samestream.monitors.budget import SOURCES_SHARE
from samestream.monitors.watch import Watch
from samestream.streams.engine import value_arrays


def fed(watch: Watch, world: made.World, from_us: int, until_us: int) -> None:
    for event, stream in (("Departure", world.departures), ("Weather", world.weather)):
        part = made.between(stream, from_us, until_us)
        watch.on_events(event, part.known_us, part.time_us, part.fields())
    watch.source_clock(until_us)


def test_the_budget_says_what_it_rests_on_and_nothing_is_promised_before() -> None:
    world = made.calm_world(25)
    watch = Watch(made.LINEAGE, made.SOURCES, made.DECLARED)
    fed(watch, world, made.START, made.START + 20 * made.DAY)
    budget = watch.budget
    assert (budget["limit_nats"], budget["days"]) == (None, 0)
    assert (budget["sources_per_week"], budget["shortest_days"]) == (SOURCES_SHARE, 18)
    fed(watch, world, made.START + 20 * made.DAY, made.START + 23 * made.DAY)
    budget = watch.budget
    assert budget["limit_nats"] >= 10
    assert budget["days"] >= budget["shortest_days"]
    assert budget["opened_on_those_days"] == 0
    assert isinstance(budget["blind"], list)


def test_a_watch_that_was_packed_says_the_same() -> None:
    struck_us = made.START + 22 * made.DAY + 7 * made.HOUR
    world = made.struck(made.calm_world(24), "frozen", struck_us)
    whole, first = (Watch(made.LINEAGE, made.SOURCES, made.DECLARED) for _ in range(2))
    fed(whole, world, made.START, world.end_us)
    cut_us = struck_us + 7 * made.MINUTE
    fed(first, world, made.START, cut_us)
    early = first.records()
    second = value_arrays.unpack(value_arrays.pack(first))
    assert isinstance(second, Watch)
    fed(second, world, cut_us, world.end_us)
    told = [*early, *second.records()]
    assert told == whole.records()
    assert "frozen" in {record.verdict for record in told}
    assert np.all([record.evidence["incidents_of_28_days"] >= 1 for record in told])
