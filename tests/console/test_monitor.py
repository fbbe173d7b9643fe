"""`samestream monitor`: the incidents as the drift topic tells them."""

from __future__ import annotations

import json
from typing import Any

import harness
import pytest

from samestream.console.incident_view import lines
from samestream.monitors.budget_state import BudgetState, FamilyState
from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.streams.engine.journal import Entry, Range
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import Outgoing, Partition

from .conftest import FLIGHTS, HOUR_US, T0_US, Cli

BUDGET = "LateArrivalHealth of LateArrival: 1 a week declared"
UNSAID = "its monitor has not said yet what that rests on"
"""The line below the list of incidents, where no monitor has run: what became of the budget."""


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
        "unit_changed  LateArrival.carrier_delay  (open, severity 0.75)",
        "  cause Departure.dep_delay, opened 2013-01-01T10:00:00Z, incident aaaa1111",
        "  It is in another unit.",
        "  factor=60.0",
        "unit_changed  LateArrival.carrier_delay  (closed 2013-01-01T13:00:00Z, severity 0.75)",
        "  cause Departure.dep_delay, opened 2013-01-01T09:00:00Z, incident bbbb2222",
        "  It is in another unit.",
        "  factor=60.0",
        f"{BUDGET}, 2 opened; {UNSAID}",
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
    assert cli("monitor", FLIGHTS).stdout == f"no incidents\n{BUDGET}, 0 opened; {UNSAID}\n"
    assert cli("monitor", FLIGHTS, "--open").stdout == f"no open incidents\n{BUDGET}, 0 opened; {UNSAID}\n"


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
        "  affected: carrier_delay",
        "  limits: 0, 90",
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
    assert (
        "flights: topics are missing. Expected: flights.drift. Hint: create them with `samestream apply" in done.stderr
    )


def said(applied: MemoryTransport, monitor: str, families: list[FamilyState], since_us: int | None = T0_US) -> None:
    """An entry of the journal by which a monitor, which has come to so many days from T0_US, tells of its budget."""
    state = BudgetState(T0_US + 56 * 24 * HOUR_US, since_us, tuple(families))
    span = Range(Partition("flights.boarding", 0), 0, 1, T0_US + 56 * 24 * HOUR_US, T0_US, 1, 0, ())
    entry = Entry(monitor, 1, "f", T0_US, (span,), (state.to_json(),), 0)
    harness.send(applied, [entry.record("flights.journal")])


def test_below_the_list_stand_the_rate_achieved_what_is_learned_and_who_is_blind(
    applied: MemoryTransport, cli: Cli
) -> None:
    said(
        applied,
        "monitor.LateArrival",
        [FamilyState("sources", 0.5, 5, 18), FamilyState("features", 0.25, 40, 34, ("temp",))],
    )
    said(applied, "monitor.LateArrival.outcomes", [FamilyState("outcomes", 0.25, 3, 34, ("Order.sku: unseen",))], None)
    day_us = 24 * HOUR_US
    for number, (days, verdict) in enumerate([(10, "unit"), (30, "model_aged"), (50, "definition_or_code")]):
        opened = T0_US + days * day_us
        harness.send(applied, [incident(f"{number}", opened_at=opened, at=opened, verdict=verdict)])
    # Garwood's interval of three in eight weeks, by the chi-squared tables: 0.6187 and 8.7673 incidents
    assert cli("monitor", FLIGHTS).stdout.splitlines()[-7:] == [
        f"{BUDGET}, opened 1 in 7 days, 2 in 28 days, and 3 in the 8.0 weeks since 2013-01-01T10:00:00Z:"
        " 0.38 a week (95 %: 0.077 to 1.1)",
        "  sources: learning, 5 of 18 good days of history; until then only declared ranges are held against them",
        "  features: 40 good days of history, 34 are needed",
        "    blind: temp",
        "  scores: learning, 0 of 69 good days of history; until then moves are told within incidents of sources alone",
        "  outcomes: learning, 3 of 34 good days of history; until then nothing is told of them",
        "    blind: Order.sku: unseen",
    ]
    assert cli("monitor", FLIGHTS, "--json").stdout.count("\n") == 3  # incidents alone
    rows = [json.loads(line) for line in cli("monitor", FLIGHTS, "--watchers", "--json").stdout.splitlines()]
    assert rows[-1]["lately"] == {"7": 1, "28": 2}
    assert rows[-1]["achieved"]["low"] == pytest.approx(0.6187 / 8, rel=1e-3)
    assert rows[-1]["achieved"]["high"] == pytest.approx(8.7673 / 8, rel=1e-3)


MOVED = {
    "psi": 0.9,
    "psi_limit": 0.3,
    "null_share": 0.0,
    "null_share_before": 0.0,
    "rows": 100,
    "rows_before": 400,
    "effect_sizes": {"psi": 0.9, "ks": 0.5, "wasserstein": None, "jensen_shannon": 0.25},
    "before": {"q50": 1.0},
    "after": {"q50": 9.0},
    "histogram": {"from": [None, 0.0, 5.0, None], "before": [0.0, 0.75, 0.25, 0.0], "after": [0.0, 0.25, 0.25, 0.5]},
    "new": [-999.0],
    "slices": [
        {
            "by": "carrier",
            "is": "UA",
            "rows_before": 0.1,
            "rows_after": 0.1,
            "share_of_move": 0.8,
            "before": 1.0,
            "after": 9.0,
        }
    ],
    "slices_by": ["carrier"],
    "examples": [{"at": "2013-01-02T03:04:05Z", "key": "UA 1", "value": 9.5}],
}


def test_incidents_are_listed_by_what_they_touch_times_how_severe_they_are(applied: MemoryTransport, cli: Cli) -> None:
    writer = applied.writer()
    for identity, severity, evidence in (
        ("a1", 0.9, {"importance": 0.1}),
        ("b2", 0.5, {"importance": 0.8}),
        ("c3", 0.7, {}),  # not known: as if it touched all
        ("d4", 0.7, {"importance": 1.0}),
    ):
        writer.send([incident(identity, severity=severity, evidence=json.dumps(evidence))])
    writer.close()
    told = cli("monitor", FLIGHTS).stdout.splitlines()
    assert [line.split()[-1] for line in told[1::2]] == ["c3", "d4", "b2", "a1"]
    assert told[2] == "unit_changed  LateArrival.carrier_delay  (open, severity 0.7, importance 1)"
    assert [json.loads(line)["incident"] for line in cli("monitor", FLIGHTS, "--json").stdout.splitlines()] == [
        "c3",
        "d4",
        "b2",
        "a1",
    ]


def test_what_moved_is_shown_by_size_with_its_histogram(applied: MemoryTransport, cli: Cli) -> None:
    writer = applied.writer()
    less = MOVED | {"psi": 0.4, "slices": [], "left_out": ["examples"], "examples": []}
    for hours, (event, name, moved) in enumerate((("open", "temp", less), ("update", "wind", MOVED))):
        writer.send([incident("a1", event, hours, evidence=json.dumps({"moved": {name: moved}}))])
    writer.close()
    assert cli("monitor", FLIGHTS).stdout.splitlines()[2:] == [
        "  wind moved: psi 0.9 (limit 0.3)  ks 0.5  jensen_shannon 0.25",
        "  temp moved: psi 0.9 (limit 0.3)  ks 0.5  jensen_shannon 0.25",
        f"{BUDGET}, 1 opened; {UNSAID}",
    ]
    told = cli("monitor", FLIGHTS, "a1").stdout.splitlines()
    wind = told[2 : told.index("  temp moved: psi 0.9 (limit 0.3)  ks 0.5  jensen_shannon 0.25")]
    assert wind[1:] == [
        "    before q50 1.0 (400 rows)",
        "    after  q50 9.0 (100 rows)",
        "    from 0  ########################  75.0%  ########                  25.0%",
        "    from 5  ########                  25.0%  ########                  25.0%",
        "    above                              0.0%  ################          50.0%",
        "    never seen before: -999.0",
        "    carrier is UA: 80% of the move, 10% of the rows before (1.0 -> 9.0)",
        "    2013-01-02T03:04:05Z  UA 1  9.5",
    ]
    assert told[-2:] == ["    spread evenly over carrier", "    left out, to keep the record small: examples"]


def test_a_histogram_of_counts_is_shown_by_shares(applied: MemoryTransport, cli: Cli) -> None:
    writer = applied.writer()
    shown = {"from": [None, 3.5], "before": [300, 100], "after": [5, 15]}
    writer.send([incident("a1", evidence=json.dumps({"histogram": shown}))])
    writer.close()
    assert cli("monitor", FLIGHTS, "a1").stdout.splitlines()[2:] == [
        "  histogram: before, and after",
        "    below     ########################  75.0%  ########                  25.0%",
        "    from 3.5  ########                  25.0%  ########################  75.0%",
    ]


def test_what_is_empty_does_not_replace_what_was_told(applied: MemoryTransport, cli: Cli) -> None:
    writer = applied.writer()
    told = ({"keys": ["a"], "events": {"n": 1}, "rate": 0.5}, {"keys": [], "events": {}, "rate": 0.0})
    for hours, (event, evidence) in enumerate(zip(("open", "update"), told, strict=True)):
        writer.send([incident("a1", event, hours, evidence=json.dumps(evidence))])
    writer.close()
    found = json.loads(cli("monitor", FLIGHTS, "--json").stdout)
    assert found["evidence"] == {"keys": ["a"], "events": {"n": 1}, "rate": 0.0}


def test_the_list_cuts_no_value_and_says_how_many_it_leaves_out(applied: MemoryTransport, cli: Cli) -> None:
    writer = applied.writer()
    evidence = {"after": {"q10": 1.5, "q50": 2.5}, **{f"name{number}": "x" * 40 for number in range(5)}}
    writer.send([incident("a1", evidence=json.dumps(evidence))])
    writer.close()
    line = cli("monitor", FLIGHTS).stdout.splitlines()[2]
    told = "  ".join(f"name{number}={'x' * 40}" for number in range(2))
    assert line == f"  after=(q10 1.5, q50 2.5)  {told}  and 3 more"


def test_what_is_nested_stands_in_lines_and_instants_are_told_as_such(applied: MemoryTransport, cli: Cli) -> None:
    at_us = T0_US + 1000
    example = {
        "entity": "F1",
        "trigger": ["flights.boarding", 0, 7],
        "event_time_us": T0_US,
        "known_us": T0_US,
        "differs": {"temp": [1.5, None]},
        "events": {"flights.weather": {"events": 3, "newest": [{"place": "w[0] 1", "temp": 1.5}]}},
    }
    since = {"compared": 400, "mismatched": 400, "rate": 1.0}
    features = {"temp": {"mismatched": 400, "rate": 1.0}}
    said = {"began": "2013", "since_it_began": since, "features": features, "examples": [example], "last_us": at_us}
    writer = applied.writer()
    writer.send([incident("a1", evidence=json.dumps({"replay": said, "worst": [["a", 1], ["b", 2]]}))])
    writer.close()
    assert cli("monitor", FLIGHTS, "a1").stdout.splitlines()[2:] == [
        "  replay:",
        "    began: 2013",
        "    since_it_began: compared 400  mismatched 400  rate 1.0",
        "    features:",
        "      temp: mismatched 400  rate 1.0",
        "    examples:",
        "      flights.boarding[0] 7  F1  known 2013-01-01T10:00:00Z",
        "        temp: served 1.5, should be -",
        "        made of 3 events of flights.weather, the newest:",
        "          place w[0] 1  temp 1.5",
        "    last: 2013-01-01T10:00:00.001Z",
        "  worst:",
        "    a, 1",
        "    b, 2",
    ]
    assert "  replay: 400 of 400 vectors since 2013 differ (100.0%), temp in 100.0%" in cli("monitor", FLIGHTS).stdout


def test_a_feature_that_is_an_instant_is_told_as_one() -> None:
    day_us = 86_400_000_000
    moved = MOVED | {
        "before": {"q50": T0_US},
        "after": {"q50": T0_US + day_us},
        "histogram": {"from": [T0_US, T0_US + day_us], "before": [1.0, 0.0], "after": [0.0, 1.0]},
        "new": [],
        "slices": [],
        "examples": [{"at": "2013-01-02T03:04:05Z", "key": "UA 1", "value": float(T0_US)}],
    }
    one = {"event": "open", "verdict": "world_changed", "subject": "M.due", "cause": "E.due", "severity": 1.0}
    one |= {"opened_at": "", "incident": "a1", "evidence": {"moved": {"due": moved}}}
    told = list(lines(one, whole=True, times={"due"}))[3:]
    assert told == [
        "    before q50 2013-01-01T10:00:00Z (400 rows)",
        "    after  q50 2013-01-02T10:00:00Z (100 rows)",
        "    from 2013-01-01T10:00:00Z  ######################## 100.0%                             0.0%",
        "    from 2013-01-02T10:00:00Z                             0.0%  ######################## 100.0%",
        "    spread evenly over carrier",
        "    2013-01-02T03:04:05Z  UA 1  2013-01-01T10:00:00Z",
    ]
    assert "1.357" in "".join(lines(one, whole=True)), "where the kind is not known, the number is told"
