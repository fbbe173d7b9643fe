"""Those who watch, killed at every step of what they write: no incident is lost, none opens twice, every row counts once."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pytest
from fate import TOLD_POINTS
from own_shop import HOUR_US, LONG, OwnShop, until

from samestream.monitors.incidents import IncidentRecord
from samestream.monitors.task import MonitorTask, parse
from samestream.schemas.avro import Codec
from samestream.streams.engine import journal
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.order import Batch
from samestream.streams.engine.processor import Emitted
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.models.profile import NumericProfile
from samestream.streams.models.profile_topic import ProfileBook
from samestream.streams.transport import Outgoing, Transport

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
# of a transaction's sends the first are the incidents, the second the entry
POINTS = (
    "open.after",
    "begin.after",
    "vectors.after",
    "rejects.after",
    "offsets.before",
    "commit.within",
    "commit.after",
)


class Doctored(FeatureTask):
    """Views of one user are counted one too many."""

    def process(self, batch: Batch, clocks: Clocks) -> Emitted:
        out = []
        for parcel in super().process(batch, clocks).parcels:
            codec = Codec(parcel_schema(self))
            for record in parcel:
                vector = codec.decode(record.value or b"")
                vector["views"] += vector["entity"] == "u3"
                out.append(record._replace(value=codec.encode(vector)))
        return Emitted(out, len(out))


def parcel_schema(task: FeatureTask) -> Any:
    (model,) = task._engine.plan.models.values()
    return model.vector_schema


def incidents(shop: OwnShop) -> list[IncidentRecord]:
    values = [value for part in shop.kafka.read_all(shop.plan.drift) for value in part.values]
    return [record for record in map(parse, values) if record is not None]


def figures(shop: OwnShop) -> dict[str, Any]:
    entries = journal.read(shop.kafka, shop.plan.journal, "parity")
    return json.loads(entries[-1].switches[0])["figures"][shop.model.name] if entries else {}


def test_parity_killed_anywhere_tells_once(shop: OwnShop, tmp_path: Path) -> None:
    events = shop.events(400)
    harness.send(shop.kafka, events)
    harness.work_off(shop.kafka, Doctored(shop.plan), shop.plan, batch_records=50)
    harness.write_log(shop.kafka, FeatureLog(tmp_path), shop.plan)
    served = [value for part in shop.kafka.read_all(shop.model.topics["features"]) for value in part.values]
    codec = Codec(shop.model.vector_schema)
    struck = sum(codec.decode(value or b"")["entity"] == "u3" for value in served)
    for point in POINTS:
        child = shop.start("parity", point=point, log=str(tmp_path))
        assert child.wait() == -9, point
    child = shop.start("parity", log=str(tmp_path))
    until(lambda: bool(incidents(shop)), child)
    time.sleep(1)  # for more than there should be
    child.end()
    found = figures(shop)
    assert (found["replay"]["compared"], found["replay"]["mismatched"]) == (len(served), struck)
    assert (found["replay"]["doubled"], found["replay"]["missing"]) == (0, 0)
    told = incidents(shop)
    assert [record.event for record in told].count("open") == 1
    assert {record.incident for record in told} == {told[0].incident}
    assert told[0].verdict == "definition_or_code"


def test_profiles_killed_at_any_time_count_every_row_once(shop: OwnShop) -> None:
    harness.send(shop.kafka, shop.events(1000))
    harness.work_off(shop.kafka, FeatureTask(shop.plan), shop.plan, batch_records=50)
    codec = Codec(shop.model.vector_schema)
    rows = [
        codec.decode(value)["seconds"]
        for part in shop.kafka.read_all(shop.model.topics["features"])
        for value in part.values
        if value
    ]
    whole = NumericProfile.of([row or 0.0 for row in rows], np.array([row is not None for row in rows]))
    subject = f"{shop.model.name}.seconds", "", shop.model.fingerprint

    def counted() -> NumericProfile:
        found = ProfileBook.read(shop.kafka.read_all(shop.plan.profiles)).over(*subject)
        return found if isinstance(found, NumericProfile) else NumericProfile()

    children = [shop.start("profiles") for _ in range(2)]
    for _ in range(4):
        time.sleep(0.4)
        children.pop(0).kill()
        children.append(shop.start("profiles"))
    until(lambda: counted().n >= len(rows), children[-1], timeout_s=120)
    for child in children:
        child.end()
    found = counted()
    assert found.n == whole.n
    np.testing.assert_array_equal(found.counts, whole.counts)
    assert (found.nulls, found.min, found.max) == (whole.nulls, whole.min, whole.max)


DAY_US, MINUTE_US = 24 * HOUR_US, HOUR_US // 60
FIRST_US = harness.START_US // DAY_US * DAY_US + DAY_US
STRUCK_US = FIRST_US + 22 * DAY_US
"""Limits are set from 18 days after three of learning."""
TROUBLED_HOURS = 104


def life(shop: OwnShop) -> list[Outgoing]:
    """Three calm weeks, then views in another unit, no views, views below zero and prices that are stuck; each is mended."""
    draw, out = random.Random(0), []
    for minute in range(0, (STRUCK_US - FIRST_US) // MINUTE_US + 60 * TROUBLED_HOURS, 12):
        now_us = FIRST_US + minute * MINUTE_US + draw.randrange(5 * MINUTE_US)
        hour = (now_us - STRUCK_US) / HOUR_US
        seconds = draw.uniform(1, 90) * (1000 if 6 <= hour < 12 else -1 if 40 <= hour < 46 else 1)
        if not 24 <= hour < 30:
            user, product = f"u{draw.randrange(7)}", f"p{draw.randrange(4)}"
            view = {"user": user, "product": product, "seconds": seconds, "at": now_us}
            out.append(shop.event("View", user, now_us, **view))
        if minute % 24 == 0:
            product, cents = f"p{draw.randrange(4)}", 4711 if 56 <= hour < 62 else draw.randrange(10_000)
            price = {"product": product, "cents": cents, "at": now_us + 1000}
            out.append(shop.event("Price", product, now_us + 1000, **price))
    return out


def drift_of(shop: OwnShop, transport: Transport) -> list[tuple[int, bytes | None, bytes | None, int]]:
    """Every record of the drift topic, those of one incident in their order; which incident is told first is left to batches."""
    return sorted(harness.contents(transport, [shop.plan.drift])[shop.plan.drift], key=lambda one: one[1] or b"")


@pytest.mark.rounds(12)
def test_the_monitor_killed_while_incidents_open_and_close_tells_what_an_undisturbed_one_tells(
    shop: OwnShop, tmp_path: Path, round: int
) -> None:
    events, draw = life(shop), random.Random(round)
    (watched,) = shop.app.monitors.values()
    task, memory = MonitorTask(shop.plan, watched), shop.memory()
    harness.send(memory, events)
    for alone in (FeatureTask(shop.plan), MonitorTask(shop.plan, watched)):
        harness.work_off(memory, alone, shop.plan)
    expected = drift_of(shop, memory)
    told = [record for record in map(parse, (one[2] for one in expected)) if record]
    assert {record.verdict for record in told} >= {"bad_values", "frozen", "missing_source", "unit"}
    assert [[record.event for record in told].count(event) for event in ("open", "close")] == [4, 4]

    # every other long round without snapshots: then each start begins with the first event
    kept = {} if round % 2 else {"snapshots": str(tmp_path), "every_s": 0.2}
    calm = sum(one.known_us < STRUCK_US for one in events)
    for part, records in ((events[:calm], 2000), (events[calm:], 0)):
        harness.send(shop.kafka, part)
        harness.work_off(shop.kafka, FeatureTask(shop.plan), shop.plan)
        if records:
            shop.work_off("monitor", task, shop.targets(task), batch_records=records, **kept)
    assert drift_of(shop, shop.kafka) == []
    targets, open_at_kills, kills = shop.targets(task), set(), 0
    for point in (*TOLD_POINTS, *TOLD_POINTS, *[""] * (12 if LONG else 4)):
        if shop.reached(task, targets):
            break  # on a busy machine a process does more before it is killed
        child = shop.start("monitor", 10, point=point, **kept)
        if point:
            assert child.wait() == -9, (point, child.said())
        else:
            works = draw.random() < 0.5  # between two commits; otherwise anywhere in start and recovery, too
            if works:
                shop.await_batches(task, 1, child)
            time.sleep(draw.uniform(0.0, 0.05 if works else 0.2))
            assert child.kill() == -9, child.said()
        kills += 1
        said = [record.event for record in incidents(shop)]
        open_at_kills.add(said.count("open") - said.count("close"))
    assert kills >= 2 * len(TOLD_POINTS) + 4, "it was done before the last kill"
    assert {0, 1} <= open_at_kills, "some were to come before an incident opened, some before it closed"
    shop.work_off("monitor", task, targets, batch_records=10, **kept)
    assert drift_of(shop, shop.kafka) == expected
    shop.check_journal(task, targets)
