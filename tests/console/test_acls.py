"""`samestream apply --acls` against what the processes really do on a log that remembers it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import PLAN, SHOP, send, shop_events, work_off, write_log
from recording import Access, RecordingTransport

from samestream.console.acls import Need, commands, needs
from samestream.console.pulses import Pulses
from samestream.monitors.task import MonitorTask
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.processor import Processor, Task
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.memory.transport import MemoryBroker
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.models.scorer import ScorerTask

from .conftest import FLIGHTS, Cli

MODEL = PLAN.models["Buys"]
TASKS: dict[str, Callable[[], Task]] = {
    "features": lambda: FeatureTask(PLAN),
    "scorer.Buys": lambda: ScorerTask(PLAN, MODEL),
    "outcomes.Buys": lambda: OutcomeTask(PLAN, MODEL),
    "monitor.Buys": lambda: MonitorTask(PLAN, SHOP.monitors["BuysHealth"]),
}
IMPLIED = {"read": ("Read",), "write": ("Write",), "describe": ("Describe", "Read", "Write")}


def allowed(access: Access, by: list[Need]) -> bool:
    resource, name, operation = access
    return any((resource, name) == need[:2] and need.operation in IMPLIED[operation] for need in by)


@pytest.fixture
def log() -> RecordingTransport:
    transport = RecordingTransport(MemoryBroker())
    provision.provision(transport, SHOP, PLAN)
    send(transport, shop_events(300))
    work_off(transport, TASKS["features"]())
    transport.accesses.clear()
    return transport


@pytest.mark.parametrize("name", TASKS)
def test_a_processor_does_nothing_that_it_is_not_allowed(log: RecordingTransport, name: str) -> None:
    if name == "features":
        send(log, shop_events(300, seed=2))
        log.accesses.clear()
    work_off(log, TASKS[name](), presence_topic=PLAN.registry, stands_by=True)
    mine = log.accesses
    wanted = needs(SHOP, PLAN)[name]
    assert [access for access in mine if not allowed(access, wanted)] == []
    used = {(resource, found) for resource, found, _ in mine}
    assert {need[:2] for need in wanted if need.operation == "Read"} <= used | {("topic", "shop.schemas")}
    assert {("transactional-id", f"shop.{name}"), ("group", f"shop.{name}")} <= used


def test_whoever_reads_pulses_may_write_them_and_nobody_else(log: RecordingTransport) -> None:
    worker = Processor(log, PLAN.app, PLAN.journal, TASKS["monitor.Buys"](), provision.store(log, PLAN))
    worker.health.state = "running"
    log.accesses.clear()
    Pulses(log, PLAN, [worker]).beat()
    assert log.accesses == {("topic", PLAN.pulse, "write")}
    wanted = needs(SHOP, PLAN)
    assert [name for name in wanted if allowed(("topic", PLAN.pulse, "write"), wanted[name])] == ["monitor.Buys"]


def test_the_features_need_every_write_they_are_given(log: RecordingTransport) -> None:
    send(log, shop_events(300, seed=2))
    log.accesses.clear()
    work_off(log, FeatureTask(PLAN))
    written = {name for resource, name, operation in log.accesses if operation == "write" and resource == "topic"}
    given = {
        need.name for need in needs(SHOP, PLAN)["features"] if (need.resource, need.operation) == ("topic", "Write")
    }
    assert given - written == {"shop.views.dead", "shop.prices.dead"}  # nothing was dead this time
    assert written <= given


def test_the_log_only_reads(log: RecordingTransport, tmp_path: Path) -> None:
    log.accesses.clear()
    write_log(log, FeatureLog(tmp_path))
    assert [access for access in log.accesses if not allowed(access, needs(SHOP, PLAN)["log"])] == []
    assert {operation for _, _, operation in log.accesses} == {"read", "describe"}


def test_they_are_printed_as_commands_with_the_principals_given(cli: Cli) -> None:
    done = cli("apply", FLIGHTS, "--acls", "--principal", "features=engine", "--namespace", "dev", "--bootstrap", "b:1")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    start = "kafka-acls --bootstrap-server b:1 --add --allow-principal User:engine --operation"
    assert lines[:3] == [
        "# features",
        f"{start} Write --transactional-id dev.flights.features",
        f"{start} Read --group dev.flights.features --group dev.flights.features.active"
        " --group dev.flights.features.standby",
    ]
    assert "User:dev.flights.scorer.LateArrival" in done.stdout
    assert all("dev.flights" in line or line.startswith("#") or "--cluster" in line for line in lines)


def test_consumers_read_alone_or_in_the_groups_named(cli: Cli) -> None:
    assert not [line for line in _of("consumers", cli("apply", FLIGHTS, "--acls").stdout) if "--group" in line]
    named = cli("apply", FLIGHTS, "--acls", "--group", "dispatch", "--namespace", "dev").stdout
    (line,) = [line for line in _of("consumers", named) if "--group" in line]
    assert line.endswith("--operation Read --group dev.dispatch")


def _of(process: str, printed: str) -> list[str]:
    return printed.split(f"# {process}\n")[1].split("# ")[0].splitlines()


def test_a_scorer_stands_for_all_models() -> None:
    lines = list(commands(SHOP, PLAN, "b:1", ["scorer=User:s"]))
    assert any("User:s " in line and "shop.predictions.Buys" in line for line in lines)


def test_a_process_that_does_not_exist_gets_no_principal(cli: Cli) -> None:
    done = cli("apply", FLIGHTS, "--acls", "--principal", "feature=x")
    assert done.exit_code == 2
    assert "--principal: a principal is given to a process. Found: feature=x." in done.stderr
    assert "Hint: --principal features=User:flights." in done.stderr
