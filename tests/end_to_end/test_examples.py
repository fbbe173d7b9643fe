"""The examples from end to end, as `samestream example` runs them: learned, scored, judged, and equal offline."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from samestream.console.example import EXAMPLES
from samestream.console.example_run import run_example
from samestream.console.main import app as command
from samestream.schemas.app import load
from samestream.streams.deploy import provision
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.transport import Transport

# what the model must do better than saying the usual, on what it never saw
BETTER = {
    "checkouts": ("log_loss", "baseline_log_loss"),
    "cards": ("log_loss", "baseline_log_loss"),
    "machines": ("root_mean_squared_error", "baseline_root_mean_squared_error"),
}


@pytest.fixture
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    if request.param == "memory":
        yield MemoryTransport(MemoryBroker())
        return
    kafka = KafkaTransport(request.getfixturevalue("broker"))
    before = set(kafka.topics())
    yield kafka
    kafka.delete_topics(sorted(set(kafka.topics()) - before))
    kafka.close()


@pytest.mark.parametrize(
    ("name", "transport"),
    [
        *((name, "memory") for name in BETTER if name != "cards"),
        pytest.param("cards", "kafka", marks=pytest.mark.kafka),
    ],
    indirect=["transport"],
)
def test_learned_scored_judged_and_equal_offline(name: str, transport: Transport, tmp_path: Path) -> None:
    data = importlib.import_module(f"samestream.examples.{name}_data")
    app = load(str(Path(data.__file__ or "").with_name(f"{name}.py")))
    plan = compile_app(app)
    provision.provision(transport, app, plan)
    found = run_example(app, data.releases(), transport, tmp_path, lambda line: None)
    assert {topic: part.dead for topic, part in found.balances.items()} == dict.fromkeys(found.balances, 0)
    assert {topic: part.read for topic, part in found.balances.items()} == {
        topic: found.produced[topic] for topic in found.balances
    }
    vectors = found.balances[plan.events[found.model.trigger].topic].applied
    parity = found.parity
    assert (parity.compared, parity.mismatched) == (vectors, 0)
    assert (parity.as_known_compared, parity.as_known_mismatched) == (vectors, 0)
    ours, usual = (found.figures[name] for name in BETTER[name])
    assert ours < usual
    assert found.figures["rows"] > 300


def test_the_command_lists_them() -> None:
    """What it prints when it runs one: tests/console/test_example.py."""
    listed = CliRunner().invoke(command, ["example"])
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(EXAMPLES)
    wrong = CliRunner().invoke(command, ["example", "nothing"])
    assert wrong.exit_code == 2
