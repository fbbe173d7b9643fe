"""Input at rest, the feature processor killed: not one record of its output differs, nor does one offset."""

from __future__ import annotations

import random
import time

import harness
import pytest
from fate import ONCE, PROCESSOR_POINTS
from own_shop import OwnShop

from samestream.streams.engine.feature_task import FeatureTask

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
EVENTS = 3000
KILLS = 10


def test_the_undisturbed_run_on_kafka_is_the_one_without_it(shop: OwnShop) -> None:
    """So that the other tests may compare with a run in memory, which is quick."""
    events, task = shop.events(EVENTS), FeatureTask(shop.plan)
    harness.send(shop.kafka, events)
    targets = shop.targets(task)
    shop.work_off("features", task, targets)
    expected = shop.undisturbed(events)
    assert shop.outputs() == expected
    assert min(len(records) for records in expected.values()) > 5, "every kind of output must be there to be lost"
    entries = shop.check_journal(task, targets)
    assert entries[0].greatest_us < entries[-1].greatest_us - task.memory_us, "recovery is to skip batches"


def test_killed_at_random_instants(shop: OwnShop, round: int) -> None:
    events, task, draw = shop.events(EVENTS, seed=round), FeatureTask(shop.plan), random.Random(round)
    harness.send(shop.kafka, events)
    targets = shop.targets(task)
    for number in range(KILLS):
        child = shop.start("features", batch_records=10)
        if number % 2:  # anywhere between two commits of those under way; else anywhere in start and recovery, too
            shop.await_batches(task, 1, child)
        time.sleep(draw.uniform(0.0, 0.05 if number % 2 else 0.2))
        assert child.kill() == -9, child.said()
    assert not shop.reached(task, targets), "it was done before the last kill"
    shop.work_off("features", task, targets)
    assert shop.outputs() == shop.undisturbed(events)
    shop.check_journal(task, targets)


@pytest.mark.rounds(10)
def test_killed_at_every_point(shop: OwnShop, round: int) -> None:
    """Each point twice, in any order, so that each is met with what each other one left behind."""
    events, task, draw = shop.events(EVENTS, seed=round), FeatureTask(shop.plan), random.Random(round)
    harness.send(shop.kafka, events)
    targets = shop.targets(task)
    kills = [(point, 1 if point in ONCE else times) for point in PROCESSOR_POINTS for times in (1, 4)]
    draw.shuffle(kills)
    for point, times in kills:
        child = shop.start("features", batch_records=20, point=point, times=times)
        assert child.wait() == -9, (point, times, child.said())
    assert not shop.reached(task, targets), "it was done before the last kill"
    shop.work_off("features", task, targets)
    assert shop.outputs() == shop.undisturbed(events), kills
    shop.check_journal(task, targets)
