"""The network between a processor and its broker is cut, or falls silent: nothing is lost, nothing comes twice."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import harness
import pytest
from nursery import Nursery
from own_shop import LONG, OwnShop, until
from proxy import ProxiedKafka

from samestream.streams.engine.feature_task import FeatureTask

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(500)]
CUTS = 12 if LONG else 4


@pytest.fixture(scope="module")
def far_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedKafka]:
    kafka = ProxiedKafka(tmp_path_factory.mktemp("far"))
    try:
        kafka.up()
        yield kafka
    finally:
        kafka.down()
        kafka.proxy.close()


@pytest.mark.rounds(5)
@pytest.mark.parametrize("fault", ["cut", "silence"])
def test_it_is_cut_again_and_again(
    far_kafka: ProxiedKafka, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory, fault: str, round: int
) -> None:
    shop, draw = OwnShop(far_kafka.bootstrap, nursery, tmp_path_factory.mktemp("shop")), random.Random(round)
    events, task, proxy = shop.events(3000, seed=round), FeatureTask(shop.plan), far_kafka.proxy
    harness.send(shop.kafka, events)
    targets = shop.targets(task)
    # the shop's own clients take the short way: they see what has become of it
    spec = {"batch_records": 10, "bootstrap": far_kafka.proxied}
    child = shop.start("features", **spec)
    for number in range(CUTS):
        shop.await_batches(task, 3, child)
        time.sleep(draw.uniform(0.0, 0.05))
        passed = proxy.passed
        (proxy.cut if fault == "cut" else proxy.silence)()
        before = shop.sequence(task)
        # once, longer than Kafka waits for a transaction
        time.sleep(70.0 if LONG and round == 0 and number == 1 else draw.uniform(0.0, 2.0))
        assert shop.sequence(task) <= before + 2, "it had a way around the proxy"
        proxy.mend()
        while shop.sequence(task) <= before + 2:
            if child.ended is not None:
                # 3: while it was away, Kafka gave its transaction up, and with it the identity's epoch
                assert child.ended in (1, 3), child.said()
                child = shop.start("features", **spec)
            time.sleep(0.02)
        assert proxy.passed > passed
    until(lambda: shop.reached(task, targets), child)
    child.end()
    assert shop.outputs() == shop.undisturbed(events)
    shop.check_journal(task, targets)
