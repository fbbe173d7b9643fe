"""Killed while a snapshot is written, before and after it is put in its place: the same output, record by record."""

from __future__ import annotations

import random
import re
from pathlib import Path

import harness
import pytest
from fate import PROCESSOR_POINTS, SNAPSHOT_POINTS
from own_shop import OwnShop

from samestream.streams.engine.feature_task import FeatureTask

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
_RESTORED = re.compile(r"restored the state after batch (\d+)")


@pytest.mark.rounds(10)
@pytest.mark.parametrize("forked", [False, True])
def test_killed_at_every_point(shop: OwnShop, tmp_path: Path, forked: bool, round: int) -> None:
    events, task, draw = shop.events(3000, seed=round), FeatureTask(shop.plan), random.Random(round)
    harness.send(shop.kafka, events)
    targets = shop.targets(task)
    kills = [(point, times) for point in SNAPSHOT_POINTS for times in (1, 2)]
    kills += [
        (point, 3) for point in draw.sample([p for p in PROCESSOR_POINTS if "open" not in p and "journal" not in p], 3)
    ]
    draw.shuffle(kills)
    restored = []
    for point, times in kills:
        child = shop.start(
            "features", 20, point=point, times=times, snapshots=str(tmp_path), forked=forked, every_s=0.03
        )
        assert child.wait() == -9, (point, times, child.said())
        restored += map(int, _RESTORED.findall(child.said()))
    assert not shop.reached(task, targets), "it was done before the last kill"
    assert len(restored) >= len(kills) // 2, "nearly every start was to begin from a snapshot"
    assert restored == sorted(restored), "and from no older one than the start before"
    shop.work_off("features", task, targets, snapshots=str(tmp_path), forked=forked)
    assert shop.outputs() == shop.undisturbed(events), kills
    shop.check_journal(task, targets)


def test_a_stop_leaves_a_snapshot_from_which_nothing_is_replayed(shop: OwnShop, tmp_path: Path) -> None:
    events, task = shop.events(2000), FeatureTask(shop.plan)
    harness.send(shop.kafka, events[:1000])
    first = shop.targets(task)
    shop.work_off("features", task, first, snapshots=str(tmp_path), every_s=60.0)
    sequence = shop.sequence(task)
    harness.send(shop.kafka, events[1000:])
    targets = shop.targets(task)
    child = shop.start("features", snapshots=str(tmp_path))
    shop.await_batches(task, 1, child)
    assert _RESTORED.findall(child.said()) == [str(sequence)]
    child.kill()
    shop.work_off("features", task, targets, snapshots=str(tmp_path))
    assert shop.outputs() == shop.undisturbed(events)
    shop.check_journal(task, targets)


def test_every_snapshot_is_lost(shop: OwnShop, tmp_path: Path) -> None:
    events, task = shop.events(1500), FeatureTask(shop.plan)
    harness.send(shop.kafka, events)
    targets = shop.targets(task)
    child = shop.start("features", 20, snapshots=str(tmp_path), every_s=0.02, point="commit.after", times=30)
    assert child.wait() == -9
    files = sorted(tmp_path.glob("*/*.npz"))
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:-7])
    child = shop.start("features", 20, snapshots=str(tmp_path), point="commit.after", times=1)
    assert child.wait() == -9
    assert child.said().count("a snapshot is damaged") == len(files)
    for path in tmp_path.glob("*/*.npz"):
        path.unlink()
    shop.work_off("features", task, targets, snapshots=str(tmp_path))
    assert shop.outputs() == shop.undisturbed(events)
    shop.check_journal(task, targets)
