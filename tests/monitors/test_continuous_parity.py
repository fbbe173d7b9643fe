"""Parity while the system runs: what is served is compared at once, an incident opens once, and restarts change nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import pytest
import shop_models
from harness import PLAN, SHOP

from samestream.monitors import continuous_parity, parity, recent_sql
from samestream.monitors.continuous_parity import AS_KNOWN, REPLAY, SKEW, ParityWorker
from samestream.monitors.incidents import IncidentRecord
from samestream.monitors.task import parse
from samestream.schemas.app import load
from samestream.schemas.avro import Codec
from samestream.schemas.errors import DeclarationError
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.order import Batch
from samestream.streams.engine.processor import Emitted
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.models import artifact, model_registry
from samestream.streams.models.model_registry import ModelVersion
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Outgoing, Partition

MODEL = PLAN.models["Buys"]
TOPIC = MODEL.topics["features"]
_VECTOR = Codec(MODEL.vector_schema)
MONITORS = list(SHOP.monitors.values())


class Doctored(FeatureTask):
    """A feature processor with a bug: one feature of some vectors is off by the last bit."""

    from_known_us = 0
    factor = 1 + 2**-40

    def process(self, batch: Batch, clocks: Clocks) -> Emitted:
        emitted = super().process(batch, clocks)
        out = []
        for parcel in emitted.parcels:
            for record in parcel:
                vector = _VECTOR.decode(record.value or b"")
                if record.known_us >= self.from_known_us and vector["seconds"] and vector["entity"] == "u1":
                    vector["seconds"] *= self.factor
                out.append(record._replace(value=_VECTOR.encode(vector)))
        return Emitted(out, len(out))


class Coarse(Doctored):
    """One that is off by more than SQL tolerates."""

    factor = 1 + 2**-20


def worker(transport: MemoryTransport, folder: Path, **options: Any) -> ParityWorker:
    return ParityWorker(
        transport, PLAN, MONITORS, FeatureLog(folder), interval_s=0.0, **{"sql_every_s": 0.0, **options}
    )


def run(one: ParityWorker, done: Callable[[], bool]) -> ParityWorker:
    harness.run_until(one, done)  # type: ignore[arg-type]
    return one


def told(transport: MemoryTransport) -> list[IncidentRecord]:
    found = [parse(value) for _, _, value, _ in harness.contents(transport, [PLAN.drift])[PLAN.drift]]
    return [record for record in found if record is not None]


def vectors(transport: MemoryTransport) -> int:
    return len(harness.contents(transport, [TOPIC])[TOPIC])


def test_everything_served_is_compared_on_every_path(tmp_path: Path) -> None:
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(400))
    harness.work_off(transport, FeatureTask(PLAN), batch_records=50)
    harness.write_log(transport, FeatureLog(tmp_path))
    one = worker(transport, tmp_path)
    paths = one.figures["Buys"]
    count = vectors(transport)
    run(one, lambda: paths[REPLAY].compared == count and paths[AS_KNOWN].compared == count and paths[SKEW].compared > 0)
    assert (paths[REPLAY].mismatched, paths[AS_KNOWN].mismatched) == (0, 0)
    assert paths[SKEW].mismatched > 0  # some events came late: a figure, not a bug
    assert paths[SKEW].features["seconds"].greatest_relative > 0
    assert told(transport) == []
    measured = {(one.name, one.labels.get("path"), one.labels.get("feature")): one.value for one in one.measures()}
    assert measured["parity_compared_total", REPLAY, None] == count
    assert measured["parity_mismatch_rate", REPLAY, "seconds"] == 0


def test_a_code_change_is_an_incident_with_keys_and_the_events_behind_them(tmp_path: Path) -> None:
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(300))
    harness.work_off(transport, Doctored(PLAN), batch_records=50)
    harness.write_log(transport, FeatureLog(tmp_path))
    one = worker(transport, tmp_path, sql_every_s=1e9)
    run(one, lambda: one.figures["Buys"][REPLAY].compared == vectors(transport) and bool(told(transport)))
    found = one.figures["Buys"][REPLAY]
    assert set(found.by_feature) == {"seconds"}
    assert 2**-41 < found.features["seconds"].greatest_relative < 2**-39
    opened = told(transport)[0]
    assert (opened.event, opened.verdict, opened.subject) == ("open", "definition_or_code", "Buys.seconds")
    assert opened.evidence["path"] == REPLAY
    said = opened.evidence[REPLAY]
    assert said["worst_keys"][0][0] == "u1"
    assert said["features"].keys() == {"seconds"}
    example = said["examples"][0]
    served, expected = example["differs"]["seconds"]
    assert served == expected * (1 + 2**-40)
    behind = example["events"]["shop.views"]
    assert behind["events"] >= 1
    assert {event["user"] for event in behind["newest"]} == {"u1"}


def test_what_is_told_later_takes_nothing_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log comes behind: events and SQL's comparison are told once it has come so far, even by another life of the worker."""
    monkeypatch.setattr(continuous_parity, "_TRACE_S", 0.0)
    transport = harness.fresh()
    events = harness.shop_events(600)
    harness.send(transport, events[:300])
    harness.work_off(transport, FeatureTask(PLAN), batch_records=50)
    harness.send(transport, events[300:])
    harness.work_off(transport, Coarse(PLAN), batch_records=50)
    first = worker(transport, tmp_path, sql_every_s=1e9)
    run(first, lambda: first.figures["Buys"][REPLAY].compared == vectors(transport) and bool(told(transport)))
    opened = told(transport)[-1]
    assert "events" not in opened.evidence[REPLAY]["examples"][0]
    assert "as_known" not in opened.evidence
    harness.write_log(transport, FeatureLog(tmp_path))
    last = worker(transport, tmp_path)
    run(last, lambda: "events" in told(transport)[-1].evidence.get(AS_KNOWN, {}).get("examples", [{}])[0])
    found = told(transport)[-1]
    assert (found.incident, found.event) == (opened.incident, "update")
    replay, known = found.evidence[REPLAY], found.evidence[AS_KNOWN]
    assert [one["trigger"] for one in replay["examples"]] == [
        one["trigger"] for one in opened.evidence[REPLAY]["examples"]
    ]
    assert replay["examples"][0]["events"]["shop.views"]["events"] >= 1
    assert replay["worst_keys"] == opened.evidence[REPLAY]["worst_keys"]
    assert known["worst_keys"][0][0] == "u1"
    assert set(known["features"]) == {"seconds"}
    run(worker(transport, tmp_path), lambda: True)
    assert told(transport)[-1] == found, "and nothing is told again"


def test_it_began_with_the_first_wrong_vector_and_rates_are_since_then(tmp_path: Path) -> None:
    transport = harness.fresh()
    events = harness.shop_events(600)
    harness.send(transport, events[:500])
    harness.work_off(transport, FeatureTask(PLAN), batch_records=50)
    before = vectors(transport)
    harness.send(transport, events[500:])
    harness.work_off(transport, Coarse(PLAN), batch_records=50)
    harness.write_log(transport, FeatureLog(tmp_path))
    one = worker(transport, tmp_path)
    paths = one.figures["Buys"]
    run(one, lambda: paths[REPLAY].compared == paths[AS_KNOWN].compared == vectors(transport))
    records = harness.contents(transport, [TOPIC])[TOPIC][:]
    known = {known_us: _VECTOR.decode(value or b"") for _, _, value, known_us in records}
    wrong = sorted(
        us
        for us, one in known.items()
        if one["entity"] == "u1" and one["seconds"] and us >= harness.START_US + 500 * 7_000_000
    )
    since = sum(us >= wrong[0] for us in known)
    found = told(transport)[0]
    assert found.opened_at_us == wrong[0]
    assert found.at_us >= wrong[-1]
    for path in (REPLAY, AS_KNOWN):
        said = told(transport)[-1].evidence[path]
        assert (said["since_it_began"]["compared"], said["since_it_began"]["mismatched"]) == (since, len(wrong))
        assert said["features"]["seconds"]["rate"] == pytest.approx(len(wrong) / since, abs=1e-6)
    assert paths[REPLAY].spell is not None
    assert before > 4 * since, "over all that was served the rate is far lower"


def test_an_incident_says_what_it_touches_of_the_model(tmp_path: Path) -> None:
    transport = harness.fresh()
    reference = {"importance": {"seconds": 0.7, "views": 0.3}}
    made = replace(artifact.load(*shop_models.champion("1")), reference=reference)
    version = ModelVersion("Buys", "1", harness.START_US, *artifact.save(made, str(tmp_path)), MODEL.fingerprint, 300)
    model_registry.publish(transport, PLAN.registry, version)
    harness.send(transport, harness.shop_events(300))
    harness.work_off(transport, Doctored(PLAN))
    run(worker(transport, tmp_path, sql_every_s=1e9), lambda: bool(told(transport)))
    assert told(transport)[0].evidence["importance"] == 0.7


def test_sql_finds_what_replay_cannot(tmp_path: Path) -> None:
    """A bug of the kernel is in the replay too: only the independent path sees it."""
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(300))
    harness.work_off(transport, FeatureTask(PLAN), batch_records=50)
    log = harness.write_log(transport, FeatureLog(tmp_path))
    one = worker(transport, tmp_path)
    # the log is what SQL reads: one event in it says something else than the topic
    read = FeatureLog.read

    def altered(self: FeatureLog, topic: str, *args: Any, **options: Any) -> Any:
        table = read(self, topic, *args, **options)
        if topic == "shop.prices" and "cents" in table.column_names:
            import pyarrow.compute as pc

            at = table.column_names.index("cents")
            table = table.set_column(at, "cents", pc.add(table["cents"], 1))
        return table

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureLog, "read", altered)
        run(one, lambda: one.figures["Buys"][AS_KNOWN].mismatched > 0 and bool(told(transport)))
    assert one.figures["Buys"][REPLAY].mismatched == 0
    assert set(one.figures["Buys"][AS_KNOWN].by_feature) == {"cents"}
    assert told(transport)[0].evidence["path"] == AS_KNOWN
    assert log.topics()


@pytest.mark.parametrize("changed", ["SQL", "engine and replay"])
def test_a_definition_that_changed_on_one_side_of_sql_is_an_incident(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(harness.__file__).parent / "shop.py").read_text()
    (tmp_path / "shop.py").write_text(text.replace('View.count(over="10m")', 'View.count(over="9m")'))
    other = load(str(tmp_path / "shop.py"))
    sides = [(SHOP, PLAN), (other, compile_app(other))]
    (app, plan), (_, by) = sides if changed == "SQL" else reversed(sides)
    compare = recent_sql.compare_as_known

    def of_other_code(_: Plan, model: ModelPlan, *args: Any) -> Any:
        return compare(by, replace(by.models["Buys"], fingerprint=model.fingerprint), *args)

    monkeypatch.setattr(recent_sql, "compare_as_known", of_other_code)
    transport = harness.fresh(app, plan)
    harness.send(transport, harness.shop_events(300))
    harness.work_off(transport, FeatureTask(plan), plan, batch_records=50)
    harness.write_log(transport, FeatureLog(tmp_path / "log"), plan)
    one = ParityWorker(
        transport, plan, list(app.monitors.values()), FeatureLog(tmp_path / "log"), interval_s=0.0, sql_every_s=0.0
    )
    paths = one.figures["Buys"]
    run(one, lambda: bool(told(transport)) and paths[REPLAY].compared == paths[AS_KNOWN].compared == vectors(transport))
    assert paths[REPLAY].mismatched == 0, "replay is run by the same code as the engine"
    assert set(paths[AS_KNOWN].by_feature) == {"views"}
    found = told(transport)[0]
    assert (found.event, found.verdict, found.subject) == ("open", "definition_or_code", "Buys.views")
    assert found.evidence["path"] == AS_KNOWN


def test_a_restart_compares_nothing_twice_and_opens_nothing_again(tmp_path: Path) -> None:
    transport = harness.fresh()
    events = harness.shop_events(600)
    harness.send(transport, events[:300])
    harness.work_off(transport, Doctored(PLAN), batch_records=50)
    first = worker(transport, tmp_path, sql_every_s=1e9)
    run(first, lambda: first.figures["Buys"][REPLAY].compared == vectors(transport) and bool(told(transport)))
    before = first.figures["Buys"][REPLAY].to_json()
    again = worker(transport, tmp_path, sql_every_s=1e9)
    run(again, lambda: again.health.state in ("running", "stopped") and again.figures["Buys"][REPLAY].compared > 0)
    assert again.figures["Buys"][REPLAY].to_json() == before
    harness.send(transport, events[300:])
    harness.work_off(transport, FeatureTask(PLAN), batch_records=50)
    last = worker(transport, tmp_path, sql_every_s=1e9)
    run(last, lambda: last.figures["Buys"][REPLAY].compared == vectors(transport))
    assert last.figures["Buys"][REPLAY].mismatched == before["mismatched"]
    assert {record.incident for record in told(transport)} == {told(transport)[0].incident}
    assert [record.event for record in told(transport)].count("open") == 1


def test_an_incident_closes_after_six_hours_of_equal_vectors_on_every_path(tmp_path: Path) -> None:
    transport = harness.fresh()
    hours = harness.shop_events(12 * 3600 // 7)
    harness.send(transport, hours[:200])
    harness.work_off(transport, Doctored(PLAN))
    first = worker(transport, tmp_path, sql_every_s=1e9)
    run(first, lambda: bool(told(transport)))
    harness.send(transport, hours[200:])
    harness.work_off(transport, FeatureTask(PLAN))
    replayed = worker(transport, tmp_path, sql_every_s=1e9)
    run(replayed, lambda: replayed.figures["Buys"][REPLAY].compared == vectors(transport))
    assert [record.event for record in told(transport)] == ["open"]  # SQL has not said anything yet
    harness.write_log(transport, FeatureLog(tmp_path))
    run(worker(transport, tmp_path), lambda: told(transport)[-1].event == "close")
    assert [record.event for record in told(transport)] == ["open", "close"]


@pytest.mark.parametrize("kind", ["doubled", "stray", "lost"])
def test_vectors_too_many_or_too_few_are_found(kind: str, tmp_path: Path) -> None:
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(300))
    harness.work_off(transport, FeatureTask(PLAN))
    slots = [slot for slot in transport._broker.log(Partition(TOPIC, 0)) if slot.record is not None]
    if kind == "lost":
        slots[5].record = None
    else:
        record = slots[5].record
        assert isinstance(record, Outgoing)
        value = _VECTOR.decode(record.value or b"")
        if kind == "stray":
            value["trigger_offset"] = 10**6  # no such trigger: it waits, and is not yet wrong
        harness.send(transport, [record._replace(value=_VECTOR.encode(value), partition=0)])
    one = worker(transport, tmp_path, sql_every_s=1e9)
    figures = one.figures["Buys"][REPLAY]
    wanted = {"doubled": (1, 0), "stray": (0, 0), "lost": (0, 1)}[kind]
    count = vectors(transport) + {"doubled": 0, "stray": -1, "lost": 1}[kind]
    run(one, lambda: figures.compared == count)
    assert (figures.doubled, figures.missing) == wanted
    assert figures.mismatched == sum(wanted)


def test_a_sample_compares_the_same_keys_each_time(tmp_path: Path) -> None:
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(300))
    harness.work_off(transport, FeatureTask(PLAN))
    harness.write_log(transport, FeatureLog(tmp_path))
    one = worker(transport, tmp_path)
    one._sample["Buys"] = 0.5
    paths = one.figures["Buys"]
    run(one, lambda: paths[REPLAY].compared > 0 and paths[AS_KNOWN].compared == paths[REPLAY].compared)
    assert 0 < paths[REPLAY].compared < vectors(transport)


def test_a_second_worker_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuous_parity, "_HEARTBEAT_S", 0.2)
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(100))
    harness.work_off(transport, Doctored(PLAN))
    one, stop = worker(transport, tmp_path), threading.Event()
    failed: list[BaseException] = []

    def go() -> None:
        try:
            one.run(stop)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not told(transport) and time.monotonic() < until:
        time.sleep(0.02)
    run(worker(transport, tmp_path), lambda: True)
    thread.join(20)
    stop.set()
    assert [type(error).__name__ for error in failed] == ["FencedError"]
    assert len({record.incident for record in told(transport)}) == 1


def test_its_entries_say_how_far_it_has_come(tmp_path: Path) -> None:
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(100))
    harness.work_off(transport, FeatureTask(PLAN))
    one = worker(transport, tmp_path)
    run(one, lambda: one.figures["Buys"][REPLAY].compared == vectors(transport))
    entries = journal.read(transport, PLAN.journal, "parity")
    assert sum(part.end - part.start for entry in entries for part in entry.ranges) >= vectors(transport)


def test_another_definition_and_a_feature_that_appears_are_no_incident(tmp_path: Path) -> None:
    text = Path(harness.__file__).with_name("shop.py").read_text()
    text = text.replace('View.count(over="10m")', 'View.count(over="20m")')
    text = text.replace(
        "    spread = ProductNow.spread_1h\n", "    longest = View.seconds\n"
    )  # one vanishes, one appears
    module = tmp_path / "shop.py"
    module.write_text(text)
    other = load(str(module))
    plan = compile_app(other)
    assert set(plan.models["Buys"].outputs) ^ set(MODEL.outputs) == {"spread", "longest"}
    transport = harness.fresh()
    events = harness.shop_events(400)
    harness.send(transport, events[:200])
    harness.work_off(transport, FeatureTask(PLAN))
    first = worker(transport, tmp_path / "log", sql_every_s=1e9)
    run(first, lambda: first.figures["Buys"][REPLAY].compared == vectors(transport))
    before = vectors(transport)
    provision.provision(transport, other, plan)
    harness.send(transport, events[200:])
    harness.work_off(transport, FeatureTask(plan), plan)
    harness.write_log(transport, FeatureLog(tmp_path / "log"), plan)
    monitors = list(other.monitors.values())
    second = ParityWorker(transport, plan, monitors, FeatureLog(tmp_path / "log"), interval_s=0.0, sql_every_s=0.0)
    found, known = second.figures["Buys"][REPLAY], second.figures["Buys"][AS_KNOWN]
    new = vectors(transport) - before
    run(second, lambda: found.compared == new and known.compared == new)
    assert (found.mismatched, known.mismatched, told(transport)) == (0, 0, [])
    assert "spread" not in found.features


@pytest.mark.parametrize("share", [0, 1.5, -1, True, "0.1"])
def test_a_sample_is_a_share(share: Any) -> None:
    with pytest.raises(DeclarationError, match="a sample is a share of the keys"):
        parity(sample=share)
