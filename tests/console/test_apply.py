"""`samestream apply`: what it makes, and that it makes it once."""

from __future__ import annotations

from samestream.schemas.app import App
from samestream.streams.memory_transport import MemoryTransport
from samestream.streams.plan import compile_app
from samestream.streams.provision import schemas, topics
from samestream.streams.transport import TopicSpec

from .conftest import FLIGHTS, Cli


def test_dry_run_says_exactly_what_apply_then_makes(transport: MemoryTransport, cli: Cli, app: App) -> None:
    dry = cli("apply", FLIGHTS, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert transport.topics() == {}
    done = cli("apply", FLIGHTS)
    assert done.stdout.replace("made", "would make") == dry.stdout
    plan = compile_app(app)
    lines = done.stdout.splitlines()
    assert lines == [f"made topic   {spec.name}" for spec in topics(app, plan)] + [
        f"made schema  {subject}" for subject, _ in schemas(plan)
    ]
    assert set(transport.topics()) == {spec.name for spec in topics(app, plan)}


def test_the_second_time_there_is_nothing_to_do(applied: MemoryTransport, cli: Cli) -> None:
    assert cli("apply", FLIGHTS).stdout == "nothing to do\n"
    assert cli("apply", FLIGHTS, "--dry-run").stdout == "nothing to do\n"


def test_another_number_of_partitions_is_refused(transport: MemoryTransport, cli: Cli) -> None:
    transport.create_topics([TopicSpec("flights.arrivals", 5)])
    for args in (("--dry-run",), ()):
        done = cli("apply", FLIGHTS, *args)
        assert done.exit_code == 1
        assert "flights.arrivals" in done.stderr
        assert "5 partitions" in done.stderr
    assert set(transport.topics()) == {"flights.arrivals"}
