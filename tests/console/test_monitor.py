"""`samestream monitor`: the incidents as the drift topic tells them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import Outgoing

from .conftest import FLIGHTS, HOUR_US, T0_US, Cli


def incident(identity: str, event: str = "open", hours: int = 0, **values: Any) -> Outgoing:
    record = {
        "incident": identity,
        "event": event,
        "subject": "LateArrival.carrier_delay",
        "cause": "Departure.dep_delay",
        "verdict": "unit_changed",
        "severity": 0.75,
        "opened_at": T0_US,
        "at": T0_US + hours * HOUR_US,
        "evidence": json.dumps({"meaning": "It is in another unit.", "factor": 60.0}),
    } | values
    return Outgoing("flights.drift", identity.encode(), Codec(records.INCIDENT).encode(record), T0_US)


@pytest.fixture
def drifted(applied: MemoryTransport) -> MemoryTransport:
    writer = applied.writer()
    writer.send(
        [
            incident("aaaa1111", verdict="late"),
            incident("bbbb2222", opened_at=T0_US - HOUR_US),
            Outgoing("flights.drift", b"x", b"not ours", T0_US),
            incident("aaaa1111", "update", 1),
            incident("bbbb2222", "close", 3, opened_at=T0_US - HOUR_US),
        ]
    )
    writer.close()
    return applied


def test_the_latest_state_of_every_incident(drifted: MemoryTransport, cli: Cli) -> None:
    done = cli("monitor", FLIGHTS)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "unit_changed  LateArrival.carrier_delay  (closed 2013-01-01T13:00:00Z, severity 0.75)",
        "  cause Departure.dep_delay, opened 2013-01-01T09:00:00Z, incident bbbb2222",
        "  It is in another unit.",
        "  factor=60.0",
        "unit_changed  LateArrival.carrier_delay  (open, severity 0.75)",
        "  cause Departure.dep_delay, opened 2013-01-01T10:00:00Z, incident aaaa1111",
        "  It is in another unit.",
        "  factor=60.0",
    ]


def test_open_ones_as_json(drifted: MemoryTransport, cli: Cli) -> None:
    (line,) = cli("monitor", FLIGHTS, "--open", "--json").stdout.splitlines()
    found = json.loads(line)
    assert (found["incident"], found["event"], found["at"]) == ("aaaa1111", "update", "2013-01-01T11:00:00Z")
    assert found["evidence"]["factor"] == 60.0


def test_one_incident_by_the_start_of_its_id(drifted: MemoryTransport, cli: Cli) -> None:
    lines = cli("monitor", FLIGHTS, "bbbb").stdout.splitlines()
    assert lines[2:] == ["  meaning: It is in another unit.", "  factor: 60.0"]
    assert cli("monitor", FLIGHTS, "cccc").exit_code == 2


def test_nothing_to_tell(applied: MemoryTransport, cli: Cli) -> None:
    assert cli("monitor", FLIGHTS).stdout == "no incidents\n"
    assert cli("monitor", FLIGHTS, "--open").stdout == "no open incidents\n"


def test_a_closed_incident_shows_all_that_was_learned_of_it(applied: MemoryTransport, cli: Cli) -> None:
    learned = [
        {"meaning": "It is out of range.", "affected": ["carrier_delay"], "limits": [0, 90], "at": "first"},
        {"meaning": "It is in another unit.", "factor": 60.0, "verdict_before": "range", "at": "then"},
        {"meaning": "It is in another unit.", "open_hours": 3.0, "at": "last"},
    ]
    writer = applied.writer()
    for hours, (event, evidence) in enumerate(zip(("open", "update", "close"), learned, strict=True)):
        writer.send([incident("aaaa1111", event, hours, evidence=json.dumps(evidence))])
    writer.close()
    assert cli("monitor", FLIGHTS, "aaaa").stdout.splitlines()[2:] == [
        "  meaning: It is in another unit.",
        '  affected: ["carrier_delay"]',
        "  limits: [0, 90]",
        "  at: last",
        "  factor: 60.0",
        "  verdict_before: range",
        "  open_hours: 3.0",
    ]
    found = json.loads(cli("monitor", FLIGHTS, "--json").stdout)
    assert (found["event"], found["evidence"]) == ("close", learned[0] | learned[1] | learned[2])


def test_before_apply_it_says_what_to_do(transport: MemoryTransport, cli: Cli) -> None:
    done = cli("monitor", FLIGHTS)
    assert done.exit_code == 1
    assert "flights: topics are missing. Found: flights.drift. Hint: create them with `samestream apply" in done.stderr
