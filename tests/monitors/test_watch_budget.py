"""The budget as a watch tells it, and a watch that is packed in the middle of its work."""

from dataclasses import replace

import made_streams as made
import numpy as np

from samestream.monitors.budget import SOURCES_SHARE
from samestream.monitors.declared import Drift, Quality
from samestream.monitors.families import families
from samestream.monitors.sources import SourceWatch
from samestream.monitors.watch import SourceSpec, Watch
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


def test_what_a_declaration_says_of_its_budget_is_what_the_watch_keeps() -> None:
    for window in ("1d", "7d"):
        for checks in ((Drift(window), Quality()), (Drift(window),)):
            declared = replace(made.DECLARED, features=checks, scores=(Drift(window),), alarms_per_week=0.5)
            budget = Watch(made.LINEAGE, made.SOURCES, declared).budget
            sources = {**budget, "per_week": budget["sources_per_week"]}
            for one in families(declared):
                kept = sources if one.name == "sources" else budget[one.name]
                assert (one.per_week, one.needed_days) == (kept["per_week"], kept["shortest_days"]), one


def test_days_are_counted_while_they_are_too_few_and_a_blind_detector_is_named_with_its_field() -> None:
    world = made.calm_world(12)
    watch = Watch(made.LINEAGE, made.SOURCES, made.DECLARED)
    assert (watch.budget["learned_days"], watch.budget["since_us"]) == (0, None)
    fed(watch, world, made.START, made.START + 10 * made.DAY)
    # three days of learning, then one a day
    assert (watch.budget["learned_days"], watch.budget["days"]) == (7, 0)
    assert watch.budget["since_us"] == min(world.departures.known_us[0], world.weather.known_us[0])
    spec = SourceSpec("Order", ("paid", "owed"), {}, {}, made.HOUR, text_fields=("sku", "shop"))
    source = SourceWatch(spec, silence_us=2 * made.HOUR, quality=True)
    called = [name for part in source.detectors for name in source.called(part)]
    assert len(called) == len(set(called)) == sum(len(part.names) for part in source.detectors)
    assert {"Order: silent", "Order.sku: unseen", "Order.shop: unseen", "Order.paid: frozen"} <= set(called)
    assert {"Order: Order.paid and Order.owed exchanged", "Order: Order.sku and Order.shop exchanged"} <= set(called)


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
