"""The main job on genuine Kafka, as a newcomer runs it: whole, killed in the middle, and with every fault."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from samestream.examples import flights_data

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

MONTHS = [1, 2]
long = pytest.mark.skipif(os.environ.get("FAULTS") != "long", reason="more whole demos: FAULTS=long")


def run_demo(folder: Path, *options: str, kill_when: Sequence[str] = ()) -> dict[str, Any]:
    """Run the command; SIGKILL the feature processor each time its output says the next of ``kill_when``."""
    summary = folder / "summary.json"
    command = [str(Path(sys.executable).with_name("samestream")), "demo", "--months", "1-2", "--folder", str(folder)]
    lines, processor, moments = [], 0, list(kill_when)
    with subprocess.Popen(
        [*command, "--summary", str(summary), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"processor pid (\d+)", line):
                processor = int(found[1])
            if moments and line.startswith(moments[0]):
                os.kill(processor, signal.SIGKILL)
                moments.pop(0)
        code = process.wait()
    assert code == 0, "".join(lines)
    assert not moments, f"the processor was never killed at {moments}"
    assert not list(folder.glob("demo-*")), "the demo left something behind"
    found = json.loads(summary.read_text())
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_demo(tmp_path_factory.mktemp("demo"))


def test_every_event_is_accounted_for(summary: dict[str, Any]) -> None:
    batches = flights_data.load(MONTHS)
    topics = {"Boarding": "boarding", "Departure": "departures", "Arrival": "arrivals", "Weather": "weather"}
    assert summary["broker"]["kind"] == "kafka"
    assert summary["broker"]["version"].startswith("4.")
    for event, topic in topics.items():
        counts = summary["events"][f"flights.{topic}"]
        assert counts["produced"] == len(batches[event])
        assert counts["produced"] == counts["applied"] + counts["late"] + counts["dead"]


def test_one_vector_per_boarding_and_one_prediction_per_later_one(summary: dict[str, Any]) -> None:
    first, later = flights_data.releases(flights_data.load(MONTHS), MONTHS)
    assert summary["vectors"] == summary["events"]["flights.boarding"]["applied"]
    assert summary["predictions"] == len(later["Boarding"])
    assert len(first["Boarding"]) + len(later["Boarding"]) == summary["vectors"]
    assert sum(summary["outcomes"].values()) == summary["predictions"]
    assert min(summary["outcomes"].values()) >= 0


def test_online_equals_offline(summary: dict[str, Any]) -> None:
    assert summary["parity"]["compared"] == summary["vectors"]
    assert summary["parity"]["mismatched"] == 0
    assert summary["parity"]["as_known_mismatched"] == 0
    assert "definition_or_code" not in {incident["verdict"] for incident in summary["incidents"]}


def test_the_model_beats_the_base_rate_on_a_month_it_never_saw(summary: dict[str, Any]) -> None:
    model = summary["model"]
    assert model["log_loss"] < model["baseline_log_loss"]
    assert 0.6 < model["auc"] < 0.9  # more would be a leak
    assert model["trained_rows"] > 20_000


def test_a_processor_killed_again_and_again_changes_nothing(summary: dict[str, Any], tmp_path: Path) -> None:
    killed = run_demo(tmp_path, kill_when=["month 1", "  features: 55", "month 2"])
    assert {**killed, "seconds": 0} == {**summary, "seconds": 0}


@pytest.mark.parametrize(
    ("fault", "verdict", "cause"),
    [
        ("unit", "unit", "Departure.dep_delay"),
        pytest.param(*("frozen", "frozen", "Departure.dep_delay"), marks=long),
        pytest.param(*("late", "late_data", "Departure"), marks=long),
        pytest.param(*("missing", "missing_source", "Weather"), marks=long),
    ],
)
def test_a_fault_is_named(summary: dict[str, Any], tmp_path: Path, fault: str, verdict: str, cause: str) -> None:
    """One of them in CI: what the monitors make of each is in tests/monitors/test_watch.py, without a broker."""
    broken = run_demo(tmp_path, "--fault", fault)
    known = Counter((part["cause"], part["verdict"], part["opened_at"]) for part in summary["incidents"])
    new = [part for part in broken["incidents"] if (part["cause"], part["verdict"], part["opened_at"]) not in known]
    assert [(part["verdict"], part["cause"]) for part in new] == [(verdict, cause)]
    (incident,) = new
    assert "2013-02-11T17" <= incident["opened_at"] < "2013-02-12"
    assert incident["subject"].startswith("LateArrival.")
    assert incident["evidence"]
    assert broken["parity"]["mismatched"] == 0
    for counts in broken["events"].values():
        assert counts["produced"] == counts["applied"] + counts["late"] + counts["dead"]
