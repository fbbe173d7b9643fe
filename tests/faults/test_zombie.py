"""A process that is stopped, replaced, and wakes up: it must write nothing more, and say so by leaving with 3."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import harness
import pytest
from own_shop import OwnShop, until

from samestream.streams.engine.feature_task import FeatureTask

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.mark.rounds(3)
@pytest.mark.parametrize(
    "point", ["journal.after", "begin.after", "vectors.within", "entry.after", "offsets.after", "commit.within"]
)
def test_it_wakes_up_in_the_middle_of_a_batch(shop: OwnShop, point: str, round: int) -> None:
    events, task = shop.events(1000, seed=round), FeatureTask(shop.plan)
    harness.send(shop.kafka, events)
    targets = shop.targets(task)
    zombie = shop.start(
        "features", batch_records=20, point=point, times=1 if point == "journal.after" else 4 + round, stop=True
    )
    zombie.await_stop()
    heir = shop.start("features", batch_records=100)
    shop.await_batches(task, 2, heir)
    zombie.signal(signal.SIGCONT)
    assert zombie.wait() == 3, zombie.said()
    assert "FencedError" in zombie.said() or "taken over" in zombie.said()
    until(lambda: shop.reached(task, targets), heir)
    heir.end()
    assert shop.outputs() == shop.undisturbed(events)
    shop.check_journal(task, targets)


def test_the_command_leaves_with_3(shop: OwnShop, tmp_path: Path) -> None:
    """Idle when it is stopped; when it wakes up, there are events that its successor has worked off."""
    events, task = shop.events(1200), FeatureTask(shop.plan)
    harness.send(shop.kafka, events[:600])
    first = shop.targets(task)
    command = [
        Path(sys.executable).with_name("samestream"),
        "run",
        shop.module,
        "features",
        "--bootstrap",
        shop.bootstrap,
    ]
    with subprocess.Popen(
        list(map(str, command)), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as zombie:
        try:
            until(lambda: zombie.poll() is not None or shop.reached(task, first))
            os.kill(zombie.pid, signal.SIGSTOP)
            harness.send(shop.kafka, events[600:])
            targets = shop.targets(task)
            shop.work_off("features", task, targets)
            os.kill(zombie.pid, signal.SIGCONT)
            began_s = time.monotonic()
            said, _ = zombie.communicate(timeout=60)
            assert zombie.returncode == 3, said
            assert "another" in said.lower(), said
            assert time.monotonic() - began_s < 30
        finally:
            zombie.kill()
    assert shop.outputs() == shop.undisturbed(events)
    shop.check_journal(task, targets)
