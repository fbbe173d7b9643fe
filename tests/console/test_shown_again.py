"""`samestream monitor MODULE ID --again`: the fault is found anew in the log, and nothing is taken from the record."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import pytest
import shop_models
from harness import PLAN, SHOP, START_US

from samestream.console import before_after
from samestream.console.shown_again import shown_again
from samestream.monitors.diagnosis import VERDICTS, command
from samestream.monitors.incidents import HOUR_US, IncidentRecord
from samestream.monitors.task import record_of
from samestream.schemas.errors import FeatureLogError
from samestream.streams.deploy.provision import provision
from samestream.streams.engine import feature_task
from samestream.streams.engine.columnar import Vectors
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.models import artifact
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.models.scorer import ScorerTask
from samestream.streams.transport import Outgoing, send_all

from .conftest import Cli

SHOP_FILE = str(Path(harness.__file__).with_name("shop.py"))


def incident(verdict: str, cause: str, subject: str = "Buys.seconds", **evidence: Any) -> IncidentRecord:
    """What a monitor may have said; of its figures nothing is needed."""
    told = {"place": VERDICTS[verdict].place, "command": command("abc123"), **evidence}
    opened_us = START_US + 25 * 60_000_000
    return IncidentRecord("abc123", "open", subject, cause, verdict, 1.0, opened_us, opened_us, told)


def again(transport: MemoryTransport, log: FeatureLog, found: IncidentRecord) -> list[str]:
    return list(shown_again(transport, SHOP, PLAN, log, found))


@pytest.fixture
def log(tmp_path: Path) -> FeatureLog:
    return FeatureLog(tmp_path / ".samestream" / "log")


@pytest.fixture
def wrong(transport: MemoryTransport, log: FeatureLog, monkeypatch: pytest.MonkeyPatch) -> MemoryTransport:
    """The shop, the second half of its vectors served by code that makes one feature too large."""
    provision(transport, SHOP, PLAN)
    events = harness.shop_events(400)
    harness.send(transport, events[:200])
    harness.work_off(transport, FeatureTask(PLAN))
    right = feature_task.VectorEncoder.records

    def records(self: feature_task.VectorEncoder, vectors: Vectors) -> Any:
        column = vectors.features["seconds"]
        column.values[...] *= 1 + 2**-20
        return right(self, vectors)

    with monkeypatch.context() as patch:
        patch.setattr(feature_task.VectorEncoder, "records", records)
        harness.send(transport, events[200:])
        harness.work_off(transport, FeatureTask(PLAN))
    harness.write_log(transport, log)
    return transport


def test_a_parity_incident_is_replayed_and_computed_in_sql(wrong: MemoryTransport, cli: Cli) -> None:
    done = cli("parity", SHOP_FILE)
    assert done.exit_code == 1, done.output
    (line,) = cli("monitor", SHOP_FILE, "--json").stdout.splitlines()
    told = json.loads(line)
    said = told["evidence"]
    assert said["replay"]["since_it_began"]["rate"] > 0.8, "vectors without a value are right"
    assert set(said["replay"]["features"]) == set(said["as_known"]["features"]) == {"seconds"}
    assert said["replay"]["began"] == said["as_known"]["began"] == said["opened_at"]
    pasted = shlex.split(said["command"])
    assert pasted == ["samestream", "monitor", SHOP_FILE, told["incident"], "--again"]
    done = cli(*pasted[1:])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    first = said["replay"]["examples"][0]
    topic, number, offset = first["trigger"]
    served, expected = first["differs"]["seconds"]
    where = f"    {topic}[{number}] {offset}  {first['entity']}  seconds: served {served}, "
    assert where + f"replayed {expected}" in lines
    assert [line for line in lines if line.startswith(where + "SQL ")]
    assert [line for line in lines if "seconds of" in line and "events of shop.views" in line]


def test_a_model_that_was_swapped_scores_the_stored_vectors(log: FeatureLog) -> None:
    transport = shop_models.scored_shop()

    def load(uri: str, digest: str) -> artifact.Artifact:
        found = artifact.load(uri, digest)
        return replace(found, estimator=artifact.load(*shop_models.champion("2")).estimator)

    harness.work_off(transport, FeatureTask(PLAN))
    harness.work_off(transport, ScorerTask(PLAN, shop_models.MODEL, load))
    harness.write_log(transport, log)
    lines = again(transport, log, incident("model_swapped", "artifact", "Buys.score"))
    (counted,) = [line for line in lines if "scored again" in line]
    compared, differ = (int(counted.split()[0]), int(counted.split()[-2]))
    assert 0 < differ < compared, "of what both estimators say the same nothing differs"
    assert len([line for line in lines if ", the artifact says " in line]) == min(differ, 10)
    assert any(line.startswith("version 1, announced as ") for line in lines)


def test_of_a_source_counts_values_and_the_first_events_are_told(
    shop: str, transport: MemoryTransport, cli: Cli
) -> None:
    send_all(transport, [record_of(PLAN.drift, incident("unit", "View.seconds"))])
    done = cli("monitor", shop, "abc", "--again")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    marked = next(line for line in lines if line[-2:] == ["<-", "opened"])
    start_us = (START_US + 25 * 60_000_000) // 600_000_000 * 600_000_000
    views = FeatureLog(".samestream/log").read("shop.views", known_from_us=start_us, known_to_us=start_us + 600_000_000)
    assert int(marked[1]) == len(views) > 0
    rows = [line for line in lines if line[:1] == ["rows"]]
    assert len(rows) == 2, "of how late they came, and of the field"
    assert all(int(count) > 0 for count in rows[1][1:])
    nulls = [line for line in lines if line[:1] == ["null"]]
    assert "0.0%" not in nulls[1][1:], "a tenth of the seconds are null"
    first = lines[lines.index(["the", "first", "events", "after", "it", "opened:"]) + 1]
    assert [part.partition("=")[0] for part in first[3:]] == ["user", "at", "seconds"]


def test_of_a_silence_the_events_before_it_and_the_next_ones_are_told(
    shop: str, transport: MemoryTransport, log: FeatureLog
) -> None:
    last_us = int(before_after.known_us(log.read("shop.views")).max())
    found = replace(incident("missing_source", "View", silent_hours=2.0), opened_at_us=last_us + 2 * HOUR_US)
    lines = again(transport, log, found)
    counted = [int(line.split()[1]) for line in lines if line.startswith("  2023-")]
    assert len(counted) <= 14
    assert counted[0] > 0
    assert counted[-1] == 0
    assert lines[-1] == "  none"
    harness.send(
        transport,
        [
            harness.encode(
                PLAN, "View", "back", last_us + 5 * HOUR_US, user="back", product="p", seconds=1.0, at=last_us
            )
        ],
    )
    harness.write_log(transport, log)
    assert "user=back" in again(transport, log, found)[-1]


def test_of_unreadable_events_the_reasons_are_told(shop: str, transport: MemoryTransport, log: FeatureLog) -> None:
    known_us = int(before_after.known_us(log.read("shop.views")).max())
    harness.send(transport, [Outgoing("shop.views", b"u1", b"no such record", known_us)])
    harness.work_off(transport, FeatureTask(PLAN))
    lines = again(transport, log, replace(incident("unreadable", "View"), opened_at_us=known_us))
    told = lines.index("1 events could not be read meanwhile:")
    assert lines[told + 1].startswith("  undecodable: ")


def test_of_labels_what_was_said_and_what_happened_are_told(log: FeatureLog) -> None:
    transport = shop_models.scored_shop()
    harness.work_off(transport, FeatureTask(PLAN))
    harness.work_off(transport, ScorerTask(PLAN, shop_models.MODEL))
    harness.work_off(transport, OutcomeTask(PLAN, shop_models.MODEL))
    harness.write_log(transport, log)
    found = replace(incident("model_aged", "Buys", "Buys.score"), opened_at_us=START_US + HOUR_US)
    lines = again(transport, log, found)
    outcomes = log.read(shop_models.MODEL.topics["outcomes"])
    labelled = outcomes["state"].to_pylist().count("labelled")
    rows = next(line for line in lines if line.split()[:1] == ["rows"])
    assert sum(int(count.replace(",", "")) for count in rows.split()[1:]) == labelled > 0
    titles = [line.split("  ")[0] for line in lines if line.split()[-2:] == ["before", "after"]]
    assert titles == ["score", "label", "squared error"]


def test_of_what_moved_both_sides_are_told(shop: str, transport: MemoryTransport, log: FeatureLog) -> None:
    found = incident("world_changed", "View.seconds", moved={"seconds": {}, "cents": {}})
    lines = again(transport, log, replace(found, opened_at_us=START_US + 5 * HOUR_US))
    assert [line.split()[0] for line in lines if line.split()[1:] == ["before", "after"]] == ["seconds", "cents"]


def test_what_the_log_does_not_reach_is_refused(shop: str, transport: MemoryTransport, log: FeatureLog) -> None:
    with pytest.raises(FeatureLogError, match="holds nothing of this time"):
        again(transport, log, replace(incident("unit", "View.seconds"), opened_at_us=START_US + 99 * HOUR_US))


def test_it_wants_one_incident(shop: str, transport: MemoryTransport, cli: Cli) -> None:
    found = incident("unit", "View.seconds")
    send_all(transport, [record_of(PLAN.drift, replace(found, incident=name)) for name in ("abc1", "abc2")])
    assert "which incident?" in cli("monitor", shop, "--again").stderr
    assert "abc1, abc2" in cli("monitor", shop, "abc", "--again").stderr
    assert cli("monitor", shop, "abc1", "--again").exit_code == 0


def test_a_command_names_what_reaches_the_log(shop: str, transport: MemoryTransport, cli: Cli, tmp_path: Path) -> None:
    send_all(transport, [record_of(PLAN.drift, incident("unit", "View.seconds"))])
    log = str(tmp_path / ".samestream" / "log")
    lines = cli("monitor", shop, "--log", log, "--bootstrap", "b:1").stdout.splitlines()
    assert lines[2] == f"  samestream monitor {shop} abc123 --again --bootstrap b:1 --log {log}"
