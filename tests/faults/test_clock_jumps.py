"""Wall clocks jump by hours and days, back and forth: those of producers, which stamp records, and the processor's own.

What is stamped is part of the log, so it decides the order and may make an event dead, the same in every run. What the
processor's own clock says decides nothing.
"""

from __future__ import annotations

import random

import harness
import pytest
from own_shop import HOUR_US, LONG, OwnShop, until

from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.transport import Outgoing

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
KILLS = 12 if LONG else 3
JUMPS_H = (-30 * 24, -30, -2, -1, 0, 0, 1, 3, 40)


def stamped_by_jumping_clocks(events: list[Outgoing], draw: random.Random) -> list[Outgoing]:
    """The same events, from three producers, each with a clock that is off by hours and now and then jumps."""
    off_h, out = [0, 0, 0], []
    for event in events:
        producer = draw.randrange(3)
        if draw.random() < 0.01:
            off_h[producer] = draw.choice(JUMPS_H)
        out.append(event._replace(known_us=event.known_us + off_h[producer] * HOUR_US))
    return out


@pytest.mark.rounds(10)
def test_no_value_depends_on_whose_clock_is_right(shop: OwnShop, round: int) -> None:
    draw, task = random.Random(round), FeatureTask(shop.plan)
    events = stamped_by_jumping_clocks(shop.events(3000, seed=round), draw)
    harness.send(shop.kafka, events)
    targets = shop.targets(task)
    for _ in range(KILLS):
        child = shop.start("features", batch_records=40, clock_jumps=True)
        shop.await_batches(task, 3, child)
        assert child.kill() == -9, child.said()
    child = shop.start("features", clock_jumps=True)
    until(lambda: shop.reached(task, targets), child)
    child.end()
    assert shop.outputs() == shop.undisturbed(events)
    entries = shop.check_journal(task, targets)
    dead = sum(part.dead for part in journal.balance(entries).values())
    late = sum(part.late for part in journal.balance(entries).values())
    assert dead > 100, "stamps behind the event times are to make some dead"
    assert late > 100, "stamps ahead are to make the merge pass over what then comes late"
