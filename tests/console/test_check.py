"""`samestream check`: what it proves, what it fails, and that every finding says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from samestream.schemas import aggregates
from samestream.schemas.comparisons import Greater
from samestream.schemas.conditional import Fill
from samestream.streams.engine import evaluate
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.models import model_registry
from samestream.streams.models.model_registry import ModelVersion
from samestream.streams.sql import aggregates as sql_aggregates
from samestream.streams.sql import duckdb as sql_duckdb
from samestream.streams.transport import TopicSpec

from .conftest import FLIGHTS, T0_US, Cli


@pytest.fixture
def findings(cli: Cli, tmp_path: Path) -> Any:
    """What is found of the flights with some edits, without a broker, as (verdict, about, where, says)."""

    def found(*edits: tuple[str, str], options: tuple[str, ...] = ("--offline",)) -> list[tuple[str, str, str, str]]:
        source = Path(FLIGHTS).read_text()
        for old, new in edits:
            assert old in source, old
            source = source.replace(old, new)
        path = tmp_path / "checked" / "flights.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        done = cli("check", path, "--json", *options)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.exit_code == int(any(row["verdict"] == "fail" for row in rows)), done.output
        assert all(row["hint"] for row in rows if row["verdict"] != "ok")
        return [(row["verdict"], row["about"], row["where"], row["says"]) for row in rows]

    return found


def wrong(found: list[tuple[str, str, str, str]]) -> list[tuple[str, str, str, str]]:
    return [one for one in found if one[0] != "ok"]


def test_the_flights_are_ready_and_every_feature_is_named(cli: Cli, app: Any) -> None:
    done = cli("check", FLIGHTS, "--offline")
    assert done.exit_code == 0, done.output
    for name in app.models["LateArrival"].inputs:
        assert f"ok    features   LateArrival.{name}: " in done.stdout
    assert "ok    offline    LateArrival: its SQL runs in DuckDB" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(" ok, 0 to look at, 0 failed")


def test_reference_tables_chains_and_requests_are_ready(cli: Cli) -> None:
    done = cli("check", Path(__file__).parents[1] / "support" / "fleet.py", "--offline")
    assert done.exit_code == 0, done.output
    assert "ok    features   LongDelay.by_big_maker: bool" in done.stdout
    assert "ok    offline    LongDelay: its SQL runs in DuckDB" in done.stdout


@pytest.mark.parametrize("name", ["rides", "checkouts", "cards", "machines"])
def test_the_other_examples_are_ready_tables_included(cli: Cli, name: str) -> None:
    done = cli("check", Path(FLIGHTS).with_name(f"{name}.py"), "--offline")
    assert done.exit_code == 0, done.output
    assert "its SQL runs in DuckDB" in done.stdout


def test_a_feature_without_a_rule_fails_by_name(findings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.delitem(sql_duckdb.RULES, Fill)
        told = wrong(findings())
        assert told[0] == ("fail", "features", "LateArrival.late_share", "no rule for fill in SQL")
        assert told[1] == ("fail", "offline", "LateArrival", "SQL cannot compute fill")
    with monkeypatch.context() as patched:
        patched.delitem(evaluate.RULES, Fill)
        assert wrong(findings()) == [("fail", "features", "LateArrival.late_share", "no rule for fill online")]
    with monkeypatch.context() as patched:
        patched.delitem(sql_aggregates.RULES, aggregates.Max)
        assert wrong(findings())[0] == ("fail", "features", "LateArrival.wind", "no rule for max in SQL")
    with monkeypatch.context() as patched:
        patched.delitem(evaluate.RULES, Greater)
        told = wrong(findings())
        assert told[0] == ("fail", "features", "LateArrival.late_share", "no rule for greater online")
        assert told[1] == ("fail", "labels", "LateArrival.late", "no rule for greater online")
    assert wrong(findings()) == []


EDITS = {
    "a retention shorter than a window": (
        ('topic="flights.weather", ', 'topic="flights.weather", retention="1h", '),
        ("fail", "retention", "Weather", "kept 1h, but a window looks back 365m"),
    ),
    "a compacted event": (
        ('topic="flights.weather", ', 'topic="flights.weather", compact=True, '),
        ("fail", "retention", "Weather", "compacted, but a window looks back 365m"),
    ),
    "no time for labels": (
        ('history="30d"', 'history="1d"'),
        ("fail", "labels", "LateArrival.late", "it may come 1d later, but training looks back 1d"),
    ),
    "labels that are later than their horizon": (
        ('within="1d"', 'within="6h"'),
        ("warn", "labels", "LateArrival.late", "Arrival may be 1d late, longer than the horizon of 6h"),
    ),
    "no lateness": (
        ('topic="flights.boarding", lateness="10m"', 'topic="flights.boarding"'),
        ("warn", "lateness", "Boarding", "0s: any event out of order is too late"),
    ),
    "a lateness longer than a window": (
        ('topic="flights.departures", lateness="10m"', 'topic="flights.departures", lateness="2h"'),
        ("warn", "lateness", "Departure", "2h, longer than its shortest window of 1h"),
    ),
    "names that Kafka takes for one": (
        ('topic="flights.arrivals"', 'topic="flights_weather"'),
        (
            "fail",
            "names",
            "flights.weather",
            "differs from flights_weather in dots and underscores only, which Kafka refuses",
        ),
    ),
    "much memory": (
        ('mean_temp_6h = Weather.temp.mean(over="6h")', 'mean_temp_6h = Weather.temp.mean(over="6h", tile="11s")'),
        ("warn", "memory", "Weather by origin", "up to about 97.7 KiB a key, and the raw events of open tiles"),
    ),
}


@pytest.mark.parametrize("what", EDITS)
def test_what_is_not_well_is_said(findings: Any, what: str) -> None:
    edit, expected = EDITS[what]
    told = wrong(findings(edit))
    assert told[0] == expected
    assert {one[:2] for one in told} == {expected[:2]}


def test_a_name_too_long_for_kafka_fails(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "flights.py"
    path.write_text(Path(FLIGHTS).read_text().replace("LateArrival", "Late" + "x" * 230))
    done = cli("check", path, "--offline", "--namespace", "dev")
    assert done.exit_code == 1
    assert "fail  names      dev.flights.features.Late" in done.stdout
    assert "characters, Kafka takes at most 249. Hint: shorten" in done.stdout


def test_without_a_broker_that_is_a_finding(cli: Cli) -> None:
    done = cli("check", FLIGHTS)
    assert done.exit_code == 0, done.output
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("warn")]
    assert told.startswith("warn  broker     ")
    assert told.endswith("Or leave the broker out: --offline.")
    assert cli("check", FLIGHTS, "--strict").exit_code == 1


def test_before_and_after_apply(transport: MemoryTransport, cli: Cli) -> None:
    assert "warn  topics     flights: not there yet: flights.boarding, " in cli("check", FLIGHTS).stdout
    assert cli("apply", FLIGHTS).exit_code == 0
    lines = cli("check", FLIGHTS).stdout.splitlines()
    assert "ok    topics     flights: all 21 are there" in lines
    assert "ok    versions   flights: version 1 of the declaration is applied" in lines
    assert any(line.startswith("ok    schemas    flights.schemas: all ") for line in lines)
    assert any(line.startswith("warn  champions  LateArrival: no model is published") for line in lines)


def test_a_champion_of_another_definition_is_told(applied: MemoryTransport, cli: Cli, app: Any) -> None:
    mark = compile_app(app).models["LateArrival"].fingerprint
    for fingerprint, told in (
        ("other", "warn  champions  LateArrival: v-other was trained"),
        (mark, f"ok    champions  LateArrival: v-{mark} fits"),
    ):
        version = ModelVersion("LateArrival", f"v-{fingerprint}", T0_US, "file:///x", "digest", fingerprint, 7)
        model_registry.publish(applied, "flights.models", version)
        assert told in cli("check", FLIGHTS).stdout


def test_what_apply_would_refuse_fails_here(applied: MemoryTransport, findings: Any) -> None:
    told = wrong(findings(("arr_delay: Field[float]", "arr_delay: Field[int]"), options=()))
    assert (
        "fail",
        "kind",
        "Arrival.arr_delay",
        "double -> long: events already written cannot be read any more",
    ) in told
    assert ("warn", "versions", "flights", "version 1 is applied, and this is another") in told


def test_a_topic_of_another_make_is_told(transport: MemoryTransport, cli: Cli) -> None:
    transport.create_topics([TopicSpec("flights.weather", 3, config={"retention.ms": "3600000"})])
    done = cli("check", FLIGHTS)
    assert done.exit_code == 1
    assert "fail  partitions flights.weather: it has 3 partitions, declared are 2" in done.stdout
    assert "fail  retention  flights.weather: it keeps 1h, but a window looks back 365m" in done.stdout
    assert "warn  topics     flights.weather: retention.ms is 3600000, declared is -1" in done.stdout
