"""`samestream topics` and `status`: what the log holds, readably."""

from __future__ import annotations

import base64
import json

from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import Partition

from .conftest import FLIGHTS, Cli, Send


def rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("flights.")}


def test_topics_lists_kinds_and_counts(rejected: MemoryTransport, cli: Cli) -> None:
    done = cli("topics", FLIGHTS)
    assert done.exit_code == 0, done.output
    found = rows(done.stdout)
    assert found["flights.departures"] == ["event", "2", "6", "1", "3"]
    assert found["flights.departures.dead"] == ["dead", "2", "3", "-", "-"]
    assert found["flights.departures.late"] == ["late", "2", "1", "-", "-"]
    assert found["flights.models"][0] == "models"
    assert found["flights.boarding"][:3] == ["event", "2", "0"]


def test_topics_before_apply_says_what_to_do(transport: MemoryTransport, cli: Cli) -> None:
    done = cli("topics", FLIGHTS)
    assert done.exit_code == 0
    assert "samestream apply MODULE" in done.stdout


def test_dead_events_tell_reason_origin_and_content(rejected: MemoryTransport, cli: Cli) -> None:
    done = cli("topics", FLIGHTS, "flights.departures.dead")
    assert done.exit_code == 0, done.output
    blocks = done.stdout.split("\n")
    assert blocks[0] == "undecodable: not in Avro single-object encoding"
    assert blocks[1] == "  from flights.departures[0]@2  known 2013-01-01T11:00:00Z  key F1"
    assert blocks[2] == "  hex 006e6f74206176726f"
    assert blocks[3].startswith("key_mismatch: ")
    assert blocks[5] == (
        "  flight_id=F61  carrier=\u00c6R  origin=JFK  dep_delay=4.5  dep_delay_hours=0.075  at=2013-01-01T11:01:00Z"
    )
    assert blocks[6].startswith("ahead_of_record: ")


def test_reason_limit_and_json(rejected: MemoryTransport, cli: Cli) -> None:
    one = cli("topics", FLIGHTS, "flights.departures.dead", "--reason", "undecodable", "--json")
    (document,) = [json.loads(line) for line in one.stdout.splitlines()]
    assert document["origin"] == {"topic": "flights.departures", "partition": 0, "offset": 2}
    assert document["event"] is None
    assert base64.b64decode(document["raw"]) == b"\x00not avro"
    newest = cli("topics", FLIGHTS, "flights.departures.dead", "--limit", "1", "--json")
    assert [json.loads(line)["reason"] for line in newest.stdout.splitlines()] == ["ahead_of_record"]
    assert cli("topics", FLIGHTS, "flights.departures.late", "--reason", "x").stdout == "no such records\n"


def test_other_topics_are_decoded_too(rejected: MemoryTransport, cli: Cli) -> None:
    events = cli("topics", FLIGHTS, "flights.departures", "--json").stdout.splitlines()
    assert [json.loads(line)["offset"] for line in events] == [0, 1, 2, 3, 4, 5]
    assert json.loads(events[0])["value"]["at"] == "2013-01-01T10:00:00.000000Z"
    (batch,) = [
        json.loads(line)["value"] for line in cli("topics", FLIGHTS, "flights.journal", "--json").stdout.splitlines()
    ]
    assert batch["processor"] == "features"
    assert batch["ranges"][0]["known_time"] == "2013-01-01T11:00:00.000000Z"
    assert "processor=features" in cli("topics", FLIGHTS, "flights.journal").stdout


def test_a_wrong_topic_names_those_there_are(rejected: MemoryTransport, cli: Cli) -> None:
    done = cli("topics", FLIGHTS, "flights.departure")
    assert done.exit_code == 2
    assert "flights.departures.dead" in done.stderr
    assert done.stderr.count("\n") == 1
    assert cli("topics", FLIGHTS, "flights.departures", "--reason", "late").exit_code == 2


def test_status_tells_how_far_a_processor_has_come(rejected: MemoryTransport, cli: Cli, send: Send) -> None:
    before = cli("status", FLIGHTS, "--bootstrap", "memory:1")
    assert before.exit_code == 0, before.output
    lines = [line.split() for line in before.stdout.splitlines()]
    assert ["features", "1", "0", "0", "2013-01-01T11:00:00Z"] in lines
    assert ["features", "flights.departures", "2", "2", "1", "3"] in lines
    send("Departure", b"more", b"k")
    after = [line.split() for line in cli("status", FLIGHTS, "--bootstrap", "memory:1").stdout.splitlines()]
    assert ["features", "1", "0", "1", "2013-01-01T11:00:00Z"] in after


def test_control_records_are_no_lag(applied: MemoryTransport) -> None:
    from samestream.console.backlog import backlog, gaps
    from samestream.streams.transport import NOW, Outgoing, Partition

    writer = applied.transactional_writer("w")
    writer.open()
    for _ in range(2):
        writer.begin()
        writer.send([Outgoing("flights.drift", b"k", b"v", NOW)])
        writer.commit()
    part = Partition("flights.drift", 0)
    assert gaps(applied, {part: 3}) == {part: 1}
    assert backlog(applied, {part: 3}) == 0
    assert backlog(applied, {part: 1}) == 1
    assert backlog(applied, {part: 0}) == 2


def test_status_names_what_has_not_run_yet(rejected: MemoryTransport, cli: Cli) -> None:
    def waiting() -> str:
        (line,) = [
            line
            for line in cli("status", FLIGHTS, "--bootstrap", "memory:1").stdout.splitlines()
            if line.startswith("not yet run: ")
        ]
        return line.removeprefix("not yet run: ")

    log = "log (it has written nothing yet)"
    assert waiting() == (
        f"scorer.LateArrival, outcomes.LateArrival, monitor.LateArrival, monitor.LateArrival.outcomes, parity, profiles, {log}"
    )
    writer = rejected.transactional_writer("flights.scorer.LateArrival")  # as a scorer that had nothing to do yet
    writer.open()
    writer.begin()
    writer.commit({Partition("flights.models", 0): 0}, "flights.scorer.LateArrival")
    assert (
        waiting() == f"outcomes.LateArrival, monitor.LateArrival, monitor.LateArrival.outcomes, parity, profiles, {log}"
    )
