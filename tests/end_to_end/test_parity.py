"""A code change in one engine, on genuine Kafka, while everything runs: found within a batch interval, and named."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import PLAN, SHOP

from samestream.console.shown_again import shown_again
from samestream.monitors.continuous_parity import AS_KNOWN, REPLAY, ParityWorker
from samestream.monitors.task import parse
from samestream.monitors.watch import IncidentRecord
from samestream.schemas.avro import Codec
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.order import Batch
from samestream.streams.engine.processor import Emitted, Processor
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_writer import LogWriter

MODEL = PLAN.models["Buys"]
_VECTOR = Codec(MODEL.vector_schema)
INTERVAL_S = 1.0


class OtherCode(FeatureTask):
    """A deployment whose code counts one view too many, for one user."""

    def process(self, batch: Batch, clocks: Clocks) -> Emitted:
        out = []
        for parcel in super().process(batch, clocks).parcels:
            for record in parcel:
                vector = _VECTOR.decode(record.value or b"")
                vector["views"] += vector["entity"] == "u3"
                out.append(record._replace(value=_VECTOR.encode(vector)))
        return Emitted(out, len(out))


@pytest.fixture
def kafka(broker: str) -> Iterator[KafkaTransport]:
    transport = KafkaTransport(broker)
    provision.provision(transport, SHOP, PLAN)
    yield transport
    transport.delete_topics([spec.name for spec in provision.topics(SHOP, PLAN)])
    transport.close()


@pytest.mark.kafka
def test_a_code_change_is_found_within_one_interval(kafka: KafkaTransport, tmp_path: Path) -> None:
    store, log = provision.store(kafka, PLAN), FeatureLog(tmp_path)
    worker = ParityWorker(kafka, PLAN, list(SHOP.monitors.values()), log, interval_s=INTERVAL_S, sql_every_s=1.0)
    stop, failed = threading.Event(), list[BaseException]()

    def start(role: ParityWorker | LogWriter | Processor, until: threading.Event) -> threading.Thread:
        def go() -> None:
            try:
                role.run(until)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=go, daemon=True)
        thread.start()
        return thread

    def wait_for(what: str, done: object) -> float:
        started = time.monotonic()
        while not done():  # type: ignore[operator]
            assert not failed, failed
            assert time.monotonic() - started < 60, what
            time.sleep(0.02)
        return time.monotonic()

    def incidents() -> list[str]:
        values = [value for fetched in kafka.read_all(PLAN.drift) for value in fetched.values]
        return [f"{one.event} {one.verdict} {one.subject}" for one in map(parse, values) if one is not None]

    def served() -> int:
        return sum(len(fetched) for fetched in kafka.read_all(MODEL.topics["features"]))

    def judged() -> int:
        return sum(part.read for part in journal.balance(journal.read(kafka, PLAN.journal, "features")).values())

    events = harness.shop_events(400)
    first_stop = threading.Event()
    threads = [start(worker, stop), start(LogWriter(kafka, PLAN, log, store, flush_s=0.2), stop)]
    first = start(Processor(kafka, PLAN.app, PLAN.journal, FeatureTask(PLAN), store), first_stop)
    try:
        harness.send(kafka, events[:300])
        topics = {part.topic for part in PLAN.inputs.values()}
        sent = sum(record.topic in topics for record in events[:300])
        figures = worker.figures["Buys"]
        wait_for("vectors", lambda: judged() == sent)
        wait_for("replay", lambda: figures[REPLAY].compared == served() and worker.health.lag == 0)
        wait_for("sql", lambda: figures[AS_KNOWN].compared == served())
        assert (figures[REPLAY].mismatched, figures[AS_KNOWN].mismatched, incidents()) == (0, 0, [])
        first_stop.set()
        first.join(30)

        other_stop = threading.Event()
        before = served()
        other = start(Processor(kafka, PLAN.app, PLAN.journal, OtherCode(PLAN), store), other_stop)
        harness.send(kafka, events[300:])
        changed_s = wait_for("changed vectors", lambda: served() > before)
        found_s = wait_for("an incident", incidents)
        print(f"found {found_s - changed_s:.2f} s after the first changed vector")
        assert found_s - changed_s < 3 * INTERVAL_S + 3, "an interval, the commit, and a busy machine"
        assert incidents()[0] == "open definition_or_code Buys.views"
        other_stop.set()
        other.join(30)

        def told() -> IncidentRecord:
            values = [value for fetched in kafka.read_all(PLAN.drift) for value in fetched.values]
            return [one for one in map(parse, values) if one is not None][-1]

        def is_whole() -> bool:
            return all(
                "events" in told().evidence.get(path, {}).get("examples", [{}])[0] for path in (REPLAY, AS_KNOWN)
            )

        # the log comes behind what is told at once: then both comparisons stand side by side, with the events behind them
        wait_for("both comparisons and the events", is_whole)
        example = told().evidence[REPLAY]["examples"][0]
        assert set(example["events"]) == {"shop.views"}
        served_views, right = example["differs"]["views"]
        lines = list(shown_again(kafka, SHOP, PLAN, log, told()))
        place = "{}[{}] {}  {}".format(*example["trigger"], example["entity"])
        assert f"  {place}  views: served {served_views}, replayed {right}" in lines
        assert f"  {place}  views: served {served_views}, SQL {right}" in lines
    finally:
        stop.set()
        first_stop.set()
        for thread in threads:
            thread.join(30)
    assert not failed
