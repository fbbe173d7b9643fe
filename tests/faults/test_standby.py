"""A second process stands by, and takes over in seconds when the active one dies; never from one that lives."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

import harness
import pytest
from nursery import Child, Nursery
from own_shop import SESSION_S, OwnShop, until

from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.kafka.local_kafka import LocalKafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
TAKEOVER_S = 30.0
"""`SESSION_S` until the broker counts a member as gone; the rest is for machines that are busy."""


def stands_by(shop: OwnShop, child: Child) -> None:
    """Wait until a process is in line behind an active one."""
    identity = f"{shop.plan.app}.features"
    until(
        lambda: shop.kafka.members(f"{identity}.active") == 1 and shop.kafka.members(f"{identity}.standby") > 0, child
    )


@pytest.mark.rounds(5)
def test_it_takes_over_when_the_active_one_is_killed(shop: OwnShop, tmp_path: Path, round: int) -> None:
    """Twice: the heir dies, too, and the second in line follows it."""
    events, task, draw = shop.events(4000, seed=round), FeatureTask(shop.plan), random.Random(round)
    harness.send(shop.kafka, events)
    targets = shop.targets(task)
    active = shop.start("features", 5, standby=False)
    heirs = [shop.start("features", 5, standby=True, snapshots=str(tmp_path / str(n))) for n in range(2)]
    stands_by(shop, heirs[0])
    for number in range(2):
        shop.await_batches(task, draw.randrange(1, 20), active)
        assert active.kill() == -9, active.said()
        killed_s, before = time.monotonic(), shop.sequence(task)
        until(lambda before=before: shop.sequence(task) > before, timeout_s=TAKEOVER_S)  # type: ignore[misc]
        print(f"taken over after {time.monotonic() - killed_s:.1f} s")
        (active,) = [heir for heir in heirs if "takes over" in heir.said()]
        heirs.remove(active)
        if not number:
            stands_by(shop, heirs[0])
    assert not shop.reached(task, targets), "it was done before the last kill"
    until(lambda: shop.reached(task, targets), active)
    active.end()
    assert shop.outputs() == shop.undisturbed(events)
    shop.check_journal(task, targets)


def test_it_waits_while_the_active_one_lives_and_takes_over_at_once_when_it_leaves(
    shop: OwnShop, tmp_path: Path
) -> None:
    events, task = shop.events(2000), FeatureTask(shop.plan)
    harness.send(shop.kafka, events[:500])
    first = shop.targets(task)
    active, heir = shop.start("features", 50, standby=False), shop.start("features", 50, standby=True)
    stands_by(shop, heir)
    until(lambda: shop.reached(task, first), active)
    time.sleep(SESSION_S + 2.0)  # longer than a session: there is nothing to wait for but that nothing happens
    harness.send(shop.kafka, events[500:1000])
    middle = shop.targets(task)
    until(lambda: shop.reached(task, middle), active)
    assert active.ended is None
    assert "takes over" not in heir.said()
    active.end()
    left_s = time.monotonic()
    harness.send(shop.kafka, events[1000:])
    targets = shop.targets(task)
    until(lambda: shop.reached(task, targets), heir)
    print(f"worked off {time.monotonic() - left_s:.1f} s after the active one left")
    heir.end()
    shop.check_journal(task, targets)
    shop.check_replay(tmp_path)  # some events came while one was at work, so which are late is for its journal to tell


def test_a_zombie_is_taken_over_from_and_leaves_with_3(shop: OwnShop) -> None:
    events, task = shop.events(2000), FeatureTask(shop.plan)
    harness.send(shop.kafka, events)
    targets = shop.targets(task)
    zombie = shop.start("features", 20, standby=False, point="vectors.within", times=8, stop=True)
    heir = shop.start("features", 20, standby=True)
    zombie.await_stop()
    until(lambda: shop.reached(task, targets), heir)
    zombie.signal(signal.SIGCONT)
    assert zombie.wait() == 3, zombie.said()
    heir.end()
    assert re.search("nobody is active: this process takes over", heir.said())
    assert shop.outputs() == shop.undisturbed(events)
    shop.check_journal(task, targets)


def test_a_broker_that_was_away_is_no_reason_to_take_over(
    own_kafka: LocalKafka, nursery: Nursery, tmp_path: Path
) -> None:
    """Both lose it for longer than a session, and both come back."""
    shop = OwnShop(own_kafka.bootstrap, nursery, tmp_path)
    events, task = shop.events(1000), FeatureTask(shop.plan)
    harness.send(shop.kafka, events[:500])
    first = shop.targets(task)
    active, heir = shop.start("features", 50, standby=False), shop.start("features", 50, standby=True)
    stands_by(shop, heir)
    until(lambda: shop.reached(task, first), active)
    pid = own_kafka.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: "ended" in own_kafka.status().detail)
    time.sleep(SESSION_S + 2.0)
    own_kafka.up()
    harness.send(shop.kafka, events[500:])
    targets = shop.targets(task)
    until(lambda: shop.reached(task, targets), active)
    time.sleep(SESSION_S + 2.0)  # a session, and more
    assert active.ended is None, active.said()
    assert heir.ended is None, heir.said()
    assert "takes over" not in heir.said()
    assert active.kill() == -9
    before = shop.sequence(task)
    harness.send(shop.kafka, shop.events(100, seed=2))
    until(lambda: shop.sequence(task) > before, heir, TAKEOVER_S)
    heir.end()
