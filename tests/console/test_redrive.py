"""`samestream redrive`: rejected events go to their topic again, repaired."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from samestream.schemas.app import App
from samestream.schemas.avro import Codec
from samestream.schemas.avro_schemas import event_schema
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.transport import Fetched, Outgoing, Partition

from .conftest import FLIGHTS, HOUR_US, T0_US, Cli, Send, departure

DEAD = "flights.departures.dead"
DEPARTURES = Partition("flights.departures", 0)


def records(transport: MemoryTransport) -> list[Outgoing]:
    """What lies in the departures topic after the six original events, headers included."""
    broker: MemoryBroker = transport._broker
    slots = [slot for number in (0, 1) for slot in broker.log(Partition(DEPARTURES.topic, number))]
    return [slot.record for slot in slots if slot.record is not None and slot.record.headers]


def decoded(app: App, record: Outgoing) -> dict[str, Any]:
    assert record.value is not None
    return Codec(event_schema(app.events["Departure"])).decode(record.value)


def total(transport: MemoryTransport) -> int:
    found: list[Fetched] = list(transport.read_all(DEPARTURES.topic))
    return sum(map(len, found))


def test_by_default_the_original_bytes_are_sent_with_their_origin(rejected: MemoryTransport, cli: Cli) -> None:
    done = cli("redrive", FLIGHTS, DEAD, "--reason", "undecodable", "--known", "original")
    assert done.exit_code == 0, done.output
    assert done.stdout == "sent 1 events to flights.departures\n"
    (sent,) = records(rejected)
    assert sent == Outgoing(
        "flights.departures",
        b"F1",
        b"\x00not avro",
        T0_US + HOUR_US,
        0,
        (("samestream.redrive-of", b"flights.departures/0/2"),),
    )


def test_set_repairs_fields_and_the_key_follows(rejected: MemoryTransport, cli: Cli, app: App) -> None:
    done = cli("redrive", FLIGHTS, DEAD, "--set", "dep_delay=7", "--set", "at=2013-01-01T11:00:00Z")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "left out: flights.departures/0/2 cannot be decoded, so no field can be set "
        "(undecodable: not in Avro single-object encoding)",
        "sent 2 events to flights.departures",
    ]
    sent = records(rejected)
    assert sorted(record.key or b"" for record in sent) == [b"F61", b"F62"]
    assert {decoded(app, record)["dep_delay"] for record in sent} == {7.0}
    assert {decoded(app, record)["at"] for record in sent} == {T0_US + HOUR_US}
    assert {record.known_us for record in sent} == {-1}


def test_a_repaired_event_is_applied(rejected: MemoryTransport, cli: Cli) -> None:
    assert cli("redrive", FLIGHTS, DEAD, "--offset", "0:3", "--set", "carrier=UA").exit_code == 0
    assert cli("run", FLIGHTS, "features", "--until-idle", "0.1").exit_code == 0
    rows = [json.loads(line) for line in cli("topics", FLIGHTS, "--json").stdout.splitlines()]
    (departures,) = [row for row in rows if row["topic"] == "flights.departures"]
    assert (departures["records"], departures["late"], departures["dead"]) == (7, 1, 3)


def test_export_edit_send(rejected: MemoryTransport, cli: Cli, app: App, nowhere: Path) -> None:
    done = cli("redrive", FLIGHTS, DEAD, "--export", "bad.jsonl")
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in (nowhere / "bad.jsonl").read_text().splitlines()]
    assert [line["event"] and line["event"]["flight_id"] for line in lines] == [None, "F61", "F62"]
    assert total(rejected) == 6

    lines[2]["event"]["at"] = "2013-01-01T11:02:00+00:00"
    (nowhere / "bad.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    dry = cli("redrive", FLIGHTS, DEAD, "--from", "bad.jsonl", "--dry-run")
    assert dry.stdout.splitlines()[1:] == [
        "would send flights.departures/0/3",
        "would send flights.departures/0/4",
        "would send 2 events to flights.departures; none would be dead again",
    ]
    assert total(rejected) == 6

    done = cli("redrive", FLIGHTS, DEAD, "--from", "bad.jsonl")
    assert done.stdout.splitlines() == [
        "left out: bad.jsonl line 1: flights.departures/0/2 has no `event`",
        "sent 2 events to flights.departures",
    ]
    by_key = {record.key: decoded(app, record) for record in records(rejected)}
    assert by_key[b"F61"]["carrier"] == "\u00c6R"
    assert by_key[b"F62"]["at"] == T0_US + 62 * 60_000_000


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (
            {"dep_delay": "late"},
            "bad.jsonl line 3, field dep_delay: a value does not fit. Found: 'late'. Expected: a number",
        ),
        ({"dep_delay": True}, "field dep_delay"),
        ({"carrier": None}, "bad.jsonl line 3, field carrier: a value does not fit. Found: null. Expected: text"),
        ({"delay": 4}, "bad.jsonl line 3, field delay: no such field"),
        ({"at": "2013-01-01T11:02:00"}, "bad.jsonl line 3, field at: a value does not fit"),
        ({"at": "9999-01-01T00:00:00Z"}, "bad.jsonl line 3, field at: the event would be dead again"),
        ({"at": 0}, "bad.jsonl line 3, field at: the event would be dead again"),
        ({"flight_id": ""}, "bad.jsonl line 3, field flight_id: the event would be dead again"),
    ],
)
def test_one_wrong_line_and_nothing_is_sent(
    rejected: MemoryTransport, cli: Cli, nowhere: Path, edit: dict[str, Any], says: str
) -> None:
    cli("redrive", FLIGHTS, DEAD, "--export", "bad.jsonl")
    lines = [json.loads(line) for line in (nowhere / "bad.jsonl").read_text().splitlines()]
    lines[2]["event"] |= {"at": "2013-01-01T11:02:00Z"} | edit
    (nowhere / "bad.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = cli("redrive", FLIGHTS, DEAD, "--from", "bad.jsonl")
    assert done.exit_code == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert total(rejected) == 6


def test_a_missing_field_and_a_broken_line_are_named(rejected: MemoryTransport, cli: Cli, nowhere: Path) -> None:
    origin = {"topic": "flights.departures", "partition": 0, "offset": 3}
    for line, says in (
        (
            json.dumps({"origin": origin, "event": {"flight_id": "F1"}}),
            "line 1, field carrier: a value does not fit. Found: nothing",
        ),
        ("{", "line 1: not a line that --export writes"),
        (json.dumps({"origin": {**origin, "topic": "other"}, "event": {}}), "line 1, field origin"),
        (json.dumps({"origin": origin, "event": [1]}), "line 1: an event is a JSON object"),
    ):
        (nowhere / "bad.jsonl").write_text(line)
        done = cli("redrive", FLIGHTS, DEAD, "--from", "bad.jsonl")
        assert (done.exit_code, says in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["flights.departures"], "no topic of rejected events"),
        ([DEAD, "--set", "speed=4"], "no such field"),
        ([DEAD, "--set", "dep_delay"], "a repair is written FIELD=VALUE"),
        ([DEAD, "--offset", "3"], "not a place"),
        ([DEAD, "--from", "a", "--export", "b"], "these options exclude each other"),
        ([DEAD, "--from", "absent.jsonl"], "the file cannot be read"),
    ],
)
def test_wrong_usage_leaves_with_2(rejected: MemoryTransport, cli: Cli, args: list[str], says: str) -> None:
    done = cli("redrive", FLIGHTS, *args)
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert total(rejected) == 6


def test_late_events_can_be_sent_again(rejected: MemoryTransport, cli: Cli, send: Send) -> None:
    done = cli("redrive", FLIGHTS, "flights.departures.late")
    assert done.stdout == "sent 1 events to flights.departures\n"
    assert [record.key for record in records(rejected)] == [b"F1"]


def test_what_is_not_edited_comes_back_bit_for_bit(
    applied: MemoryTransport, cli: Cli, send: Send, app: App, nowhere: Path
) -> None:
    odd = [
        departure(1, carrier='\u00c6\u2028\r\n\t"\x01', dep_delay=0.1 + 0.2, dep_delay_hours=-0.0),
        departure(2, at=T0_US + 123_457, dep_delay=5e-324, dep_delay_hours=1e16),
        departure(3, at=T0_US + 1, dep_delay=float("inf"), dep_delay_hours=1.7976931348623157e308),
    ]
    for one in odd:
        send("Departure", one, b"another key")
    assert cli("run", FLIGHTS, "features", "--until-idle", "0.1").exit_code == 0
    assert cli("redrive", FLIGHTS, DEAD, "--export", "bad.jsonl").exit_code == 0
    document = json.loads((nowhere / "bad.jsonl").read_text().split("\n")[1])
    assert document["event"]["at"] == "2013-01-01T10:00:00.123457Z"
    assert document["known_time"] == "2013-01-01T10:00:00.000000Z"
    shown = cli("topics", FLIGHTS, DEAD, "--json").stdout.split("\n")[1]
    assert json.loads(shown) == document
    done = cli("redrive", FLIGHTS, DEAD, "--from", "bad.jsonl")
    assert done.exit_code == 0, done.stderr
    codec = Codec(event_schema(app.events["Departure"]))
    assert sorted(record.value or b"" for record in records(applied)) == sorted(map(codec.encode, odd))


def test_a_time_beyond_any_calendar_is_exported_as_the_number_it_is(
    applied: MemoryTransport, cli: Cli, send: Send, nowhere: Path
) -> None:
    send("Departure", departure(1, at=T0_US * 1000))
    assert cli("run", FLIGHTS, "features", "--until-idle", "0.1").exit_code == 0
    assert cli("redrive", FLIGHTS, DEAD, "--export", "bad.jsonl").exit_code == 0
    assert json.loads((nowhere / "bad.jsonl").read_text())["event"]["at"] == T0_US * 1000
    done = cli("redrive", FLIGHTS, DEAD, "--from", "bad.jsonl")
    assert "line 1, field at: the event would be dead again" in done.stderr


def test_an_edited_file_is_not_lost(rejected: MemoryTransport, cli: Cli, nowhere: Path) -> None:
    (nowhere / "bad.jsonl").write_text("edited for hours")
    done = cli("redrive", FLIGHTS, DEAD, "--export", "bad.jsonl")
    assert done.exit_code == 2
    assert "--overwrite" in done.stderr
    assert (nowhere / "bad.jsonl").read_text() == "edited for hours"
    assert cli("redrive", FLIGHTS, DEAD, "--export", "bad.jsonl", "--overwrite").exit_code == 0
    assert (nowhere / "bad.jsonl").read_text().count("\n") == 3
    assert cli("redrive", FLIGHTS, DEAD, "--export", "absent/bad.jsonl").exit_code == 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--reason", "nope"], ["--reason nope", "undecodable (1)", "key_mismatch (1)", "ahead_of_record (1)"]),
        (["--offset", "9:99"], ["--offset 9:99", "Found: 0:2, 0:3, 0:4."]),
        (["--offset", "0:2", "--offset", "0:5"], ["--offset 0:5"]),
        (["--reason", "undecodable", "--offset", "0:3"], ["--offset 0:3", "Found: 0:2."]),
        (["--set", "carrier=UA", "--reason", "undecodable"], ["nothing is left to send"]),
    ],
)
def test_a_selection_that_means_nothing_leaves_with_1(
    rejected: MemoryTransport, cli: Cli, args: list[str], says: list[str]
) -> None:
    done = cli("redrive", FLIGHTS, DEAD, *args)
    assert done.exit_code == 1
    assert [part for part in says if part not in done.stderr] == []
    assert total(rejected) == 6


def test_dry_run_tells_what_would_be_dead_again(rejected: MemoryTransport, cli: Cli) -> None:
    done = cli("redrive", FLIGHTS, DEAD, "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [
        "would send flights.departures/0/2, dead again: undecodable: not in Avro single-object encoding",
        "would send flights.departures/0/3, dead again: key_mismatch: the Kafka key is not flight_id 'F61'",
        "would send flights.departures/0/4",
        "would send 3 events to flights.departures; 2 of them would be dead again: undecodable 1, key_mismatch 1",
    ]
    kept = cli("redrive", FLIGHTS, DEAD, "--dry-run", "--known", "original", "--offset", "0:4")
    assert "1 of them would be dead again: ahead_of_record 1" in kept.stdout
    assert total(rejected) == 6
