"""`samestream apply`: what it makes, that it makes it once, and what it refuses before it makes anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from samestream.schemas.app import App
from samestream.schemas.errors import TransportError
from samestream.streams.deploy.declaration import recorded
from samestream.streams.deploy.provision import schemas, topics
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import TopicSpec
from samestream.streams.wire.schema_store import SchemaStore

from .conftest import FLIGHTS, Cli


@pytest.fixture
def edited(tmp_path: Path) -> Any:
    """The path of the flights with some edits."""

    def make(*edits: tuple[str, str]) -> str:
        source = Path(FLIGHTS).read_text()
        for old, new in edits:
            assert old in source, old
            source = source.replace(old, new)
        path = tmp_path / "edited" / "flights.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        return str(path)

    return make


def snapshot(transport: MemoryTransport) -> Any:
    """Everything the log holds."""
    return {
        topic: [(part.offsets.tolist(), part.values) for part in transport.read_all(topic)]
        for topic in transport.topics()
    }


def test_a_dry_run_shows_every_topic_and_makes_nothing(transport: MemoryTransport, cli: Cli, app: App) -> None:
    dry = cli("apply", FLIGHTS, "--dry-run", "--set", "Weather.retention=30d", "--set", "min_insync=1")
    assert dry.exit_code == 0, dry.output
    assert transport.topics() == {}
    for spec in topics(app, compile_app(app)):
        assert f"{spec.name} " in dry.stdout
    rows = {line.split()[0]: line.split() for line in dry.stdout.splitlines() if line.startswith("flights.")}
    assert rows["flights.weather"][1:] == ["make", "2", "1", "1", "30d", "delete"]
    assert rows["flights.journal"][1:] == ["make", "16", "1", "1", "for", "ever", "delete"]
    assert "would record version 1 of the declaration" in dry.stdout


def test_it_makes_topics_and_schemas_and_records_the_declaration(
    transport: MemoryTransport, cli: Cli, app: App
) -> None:
    plan = compile_app(app)
    assert cli("apply", FLIGHTS).stdout.splitlines() == [
        *(f"made topic   {spec.name}" for spec in topics(app, plan)),
        *(f"made schema  {subject}" for subject, _ in SchemaStore(None, "").unpublished(schemas(plan))),
        f"recorded     version 1 of the declaration, {plan.fingerprint}",
    ]
    assert set(transport.topics()) == {spec.name for spec in topics(app, plan)}


def test_the_second_time_there_is_nothing_to_do(applied: MemoryTransport, cli: Cli) -> None:
    assert cli("apply", FLIGHTS).stdout == "nothing to do\n"
    assert "nothing to do" in cli("apply", FLIGHTS, "--dry-run").stdout


def test_another_number_of_partitions_is_refused(transport: MemoryTransport, cli: Cli) -> None:
    transport.create_topics([TopicSpec("flights.arrivals", 5)])
    for args in (("--dry-run",), ()):
        done = cli("apply", FLIGHTS, *args)
        assert done.exit_code == 1
        assert "REFUSED    partitions flights.arrivals: it has 5 partitions, declared are 2" in done.stderr
        assert "Hint: declare partitions=5 (or give --set), or use a new topic name." in done.stderr
    assert set(transport.topics()) == {"flights.arrivals"}
    assert cli("apply", FLIGHTS, "--set", "Arrival.partitions=5").exit_code == 0
    assert transport.topics()["flights.arrivals.dead"] == 5


def test_options_reach_the_topics(transport: MemoryTransport, cli: Cli, edited: Any) -> None:
    declared = edited(
        ('topic="flights.weather", ', 'topic="flights.weather", partitions=3, retention="60d", min_insync=1, '),
        ('topic="flights.boarding", ', 'topic="flights.boarding", compact=True, '),
    )
    done = cli("apply", declared, "--set", "Weather.retention=90d")
    assert done.exit_code == 0, done.output
    weather, boarding = (transport.topic_config(f"flights.{name}") for name in ("weather", "boarding"))
    assert (weather["retention.ms"], weather["min.insync.replicas"]) == (str(90 * 86_400_000), "1")
    assert (boarding["retention.ms"], boarding["cleanup.policy"]) == ("-1", "compact")
    assert transport.topics()["flights.weather"] == 3
    assert transport.topic_config("flights.weather.late")["retention.ms"] == "-1"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("partitions", "this sets no option of a topic. Found: partitions."),
        ("Boardng.partitions=3", "this sets no option of a topic. Found: Boardng.partitions=3."),
        ("partitions=0", "Boarding: a topic needs partitions. Found: 0."),
        ("compact=3", "Boarding.compact: an option of a topic means nothing. Found: 3. Expected: True or False."),
        ("retention=soon", "Boarding.retention: a duration was not understood. Found: 'soon'."),
    ],
)
def test_an_option_that_means_nothing_is_refused(transport: MemoryTransport, cli: Cli, given: str, told: str) -> None:
    done = cli("apply", FLIGHTS, "--set", given)
    assert done.exit_code in (1, 2)
    assert told in done.stderr
    assert "Hint:" in done.stderr
    assert transport.topics() == {}


REFUSED = {
    "kind": (("arr_delay: Field[float]", "arr_delay: Field[int]"),),
    "key": (
        (
            "flight_id: Field[str] = key()\n    carrier: Field[str] = field()\n    origin: Field[str] = field()\n    dep_delay:",
            "flight_id: Field[str] = field()\n    carrier: Field[str] = key()\n    origin: Field[str] = field()\n    dep_delay:",
        ),
    ),
    "required": (("    dewp: Field", "    gust: Field[float] = field()\n    dewp: Field"),),
    "removed-field": (
        ('    dep_delay_hours: Field[float] = field(unit="h", low=-2, high=34)\n', ""),
        ("dep_delay_hours.", "dep_delay."),
    ),
    "topic": (("flights.weather", "flights.sky"),),
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_change_that_breaks_is_refused_and_nothing_is_half_applied(
    applied: MemoryTransport, cli: Cli, edited: Any, code: str
) -> None:
    before = snapshot(applied)
    done = cli("apply", edited(*REFUSED[code]))
    assert done.exit_code == 1, done.output
    assert f"REFUSED    {code}" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "error: flights: the declaration does not fit what is deployed, and nothing was made. Found: "
    )
    assert "Hint: " in last
    assert done.stdout == ""
    assert snapshot(applied) == before


@pytest.mark.parametrize("code", ["required", "removed-field", "topic"])
def test_where_one_can_live_with_it_the_operator_may_go_on(
    applied: MemoryTransport, cli: Cli, edited: Any, code: str
) -> None:
    module = edited(*REFUSED[code])
    assert f"To go on all the same: --allow {code}." in cli("apply", module).stderr
    done = cli("apply", module, "--allow", code)
    assert done.exit_code == 0, done.output
    assert f"allowed    {code}" in done.stderr
    assert [one.version for one in recorded(applied, "flights.schemas")] == [1, 2]


@pytest.mark.parametrize("code", ["kind", "key", "anything"])
def test_what_has_no_way_round_cannot_be_allowed(applied: MemoryTransport, cli: Cli, code: str) -> None:
    done = cli("apply", FLIGHTS, "--allow", code)
    assert done.exit_code == 2
    assert f"--allow: this cannot be allowed. Found: {code}." in done.stderr


def test_a_change_of_meaning_is_applied_and_what_follows_is_told(
    applied: MemoryTransport, cli: Cli, edited: Any
) -> None:
    module = edited(('mean_temp_6h = Weather.temp.mean(over="6h")', 'mean_temp_6h = Weather.temp.mean(over="12h")'))
    done = cli("apply", module)
    assert done.exit_code == 0, done.output
    assert "note       definition LateArrival: its vectors get another fingerprint" in done.stderr
    assert done.stdout.startswith("recorded     version 2 of the declaration")
    last = recorded(applied, "flights.schemas")[-1]
    assert (last.parts["OriginWeather.mean_temp_6h"].version, last.parts["OriginWeather.rain_6h"].version) == (2, 1)
    assert cli("diff", "--deployed", module).stdout == "flights: the same declaration\n"
    assert "over 12h -> 6h" in cli("diff", "--deployed", FLIGHTS).stdout


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"retention.ms": "3600000"}, "it keeps 1h, but a window looks back 365m"),  # 6 h and a tile
        ({"cleanup.policy": "compact"}, "so only the newest record of each key is kept, but a window looks back 365m"),
    ],
)
def test_a_window_longer_than_the_log_is_refused(
    transport: MemoryTransport, cli: Cli, config: dict[str, str], told: str
) -> None:
    transport.create_topics([TopicSpec("flights.weather", 2, config=config)])
    done = cli("apply", FLIGHTS)
    assert done.exit_code == 1
    assert "REFUSED    retention flights.weather: " in done.stderr
    assert told in done.stderr
    assert cli("apply", FLIGHTS, "--allow", "retention").exit_code == 0


def test_another_app_that_reads_a_field_is_heard(applied: MemoryTransport, cli: Cli, edited: Any) -> None:
    other = Path(edited(("class LateArrival(", 'app = "elsewhere"\n\n\nclass LateArrival(')))
    assert cli("apply", other).exit_code == 0
    module = edited(("    dest: Field[str] = field()\n    tailnum", "    tailnum"))
    done = cli("apply", module, "--allow", "removed-field")
    assert done.exit_code == 0
    assert "the app elsewhere reads it (version 1 of its declaration)" in done.stderr
    assert "the app flights reads" not in done.stderr


def test_what_failed_half_way_is_finished_by_doing_it_again(
    transport: MemoryTransport, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise TransportError("the broker went away", where="somewhere", hint="run it again.")

    with monkeypatch.context() as patched:
        patched.setattr("samestream.streams.deploy.provision.SchemaStore.publish", fail)
        assert cli("apply", FLIGHTS).exit_code == 1
    assert recorded(transport, "flights.schemas") == []
    done = cli("apply", FLIGHTS)
    assert done.exit_code == 0
    assert "made topic" not in done.stdout
    assert "made schema  flights.boarding-value" in done.stdout
    assert "recorded     version 1" in done.stdout
