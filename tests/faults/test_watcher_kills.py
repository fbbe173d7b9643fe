"""Those who watch, killed at every step of what they write: no incident is lost, none opens twice, every row counts once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pytest
from own_shop import OwnShop, until

from samestream.monitors.incidents import IncidentRecord
from samestream.monitors.task import parse
from samestream.schemas.avro import Codec
from samestream.streams.engine import journal
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.order import Batch
from samestream.streams.engine.processor import Emitted
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.models.profile import NumericProfile
from samestream.streams.models.profile_topic import ProfileBook

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
