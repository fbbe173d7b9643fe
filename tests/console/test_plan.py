"""`samestream plan` draws what will run."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from harness import PLAN

from samestream.console.drawing import drawing
from samestream.console.plan import drawn
from samestream.schemas.app import load
from samestream.schemas.avro_schemas import avro_type
from samestream.schemas.expressions import Kind
from samestream.streams.lowering import compile_app

from .conftest import FLIGHTS, Cli


def test_sources_state_vectors_and_label_are_drawn() -> None:
    lines = list(drawn(PLAN))
    assert lines[0] == f"shop   definition {PLAN.fingerprint}"
    assert any("View" in line and "lateness 1m" in line and "judged by features" in line for line in lines)
    assert any("Order" in line and "judged by outcomes.Buys" in line for line in lines)
    assert "    mean(seconds) over 1h, 60 tiles of 1m" in lines
    assert "    last(cents) over 1d, 96 tiles of 15m" in lines
    assert any(line.split() == ["spread", "int", "from", "Price.cents"] for line in lines)
    assert "  label bought: (amount > 0) of Order by user, within 30m" in lines
    assert "  predicts a probability, trained by gradient_boosting" in lines
    assert "  View by user: kernel, up to about 6.3 KiB a key, about 0.2 to 0.9 us an event" in lines


def test_the_flow_is_drawn_from_sources_to_outcomes() -> None:
    assert list(drawing(PLAN, PLAN.models["Buys"])) == [
        "  shop.prices ───▶ Price by product: 3 aggregates, kernel ─┐",
        "  shop.views ──┬─▶ View by user: 2 aggregates, kernel ─────┤",
        "               └─▶ a vector for each View ─────────────────┴─▶ shop.features.Buys",
        "                                                                 │ scored by the champion",
        "                                                                 ▼",
        "                                                               shop.predictions.Buys",
        "                                                                 │",
        "  shop.orders ───▶ label bought, within 30m ─────────────────────┴─▶ shop.outcomes.Buys",
    ]


@pytest.mark.parametrize("module", ["examples/flights.py", "examples/rides.py"])
def test_every_line_of_a_drawing_meets_the_next(module: str) -> None:
    plan = compile_app(load(str(Path(__file__).parents[2] / module)))
    for model in plan.models.values():
        lines = list(drawing(plan, model))
        down, up = "┬├┐┤│", "└├┤┴│▼"
        for above, below in pairwise(lines):
            for column in range(min(len(above), len(below))):
                if above[column] in down and below[column] != "s":
                    assert below[column] in up, (column, above, below)


def test_monitors_say_what_they_watch_and_when_each_part_of_their_budget_may_speak(cli: Cli) -> None:
    lines = cli("plan", FLIGHTS).stdout.splitlines()
    told = lines[lines.index("Monitors") + 1 :]
    assert told[0] == "  LateArrivalHealth watches LateArrival, 1 alarms a week declared"
    assert (
        told[1] == "    features: parity(sample=1.0), drift(window='1d'), quality(), silence(longer_than='2h', by=())"
    )
    assert told[3:7] == [
        "    sources: 0.5 a week; the first may be told after 18 good days of history, after 3 of learning",
        "    features: 0.25 a week, features and scores together; the first may be told after 34 good days of history",
        "    scores: 0.25 a week, features and scores together; the first may be told after 69 good days of history",
        "    outcomes: 0.25 a week; the first may be told after 34 good days of history",
    ]
    weather = told.index("    of Weather is watched: temp, wind_speed, precip, visib")
    assert "dewp (no input of the model reads it)" in told[weather + 1]
    assert "origin (the key, by which repeats are told)" in told[weather + 1]


def test_a_model_that_nobody_watches_and_fields_of_which_only_silence_is_watched_are_told(
    cli: Cli, tmp_path: Path
) -> None:
    source = Path(FLIGHTS).read_text()
    bare = tmp_path / "bare.py"
    bare.write_text(source[: source.index("class LateArrivalHealth")])
    assert cli("plan", bare).stdout.splitlines()[-1] == "  LateArrival has no monitors"
    assert "nobody watches it" in cli("check", bare, "--offline").stdout
    silent = tmp_path / "silent.py"
    silent.write_text(source.replace('quality(), silence(longer_than="2h")', 'silence("2h", by=Departure.carrier)'))
    told = cli("plan", silent).stdout.splitlines()
    departure = told.index("    of Departure is watched: carrier")
    assert "dep_delay (quality() is not declared)" in told[departure + 1]


FLEET = Path(__file__).parents[1] / "support" / "fleet.py"


def test_reference_tables_are_drawn_with_whose_instants_ask(cli: Cli) -> None:
    lines = cli("plan", FLEET).stdout.splitlines()
    assert "  fleet.planes ────▶ Plane by tail, as of each Flight ──────────────────┐" in lines
    assert "  fleet.makers ────▶ Maker by name, as of each Flight ──────────────────┤" in lines
    assert any(line.split()[:3] == ["by_big_maker", "bool", "from"] for line in lines)


def test_a_namespace_is_in_every_topic(cli: Cli) -> None:
    done = cli("plan", FLIGHTS, "--namespace", "dev")
    assert done.exit_code == 0, done.output
    assert "┴─▶ dev.flights.features.LateArrival" in done.stdout
    assert " flights." not in done.stdout


def test_what_is_decoded_or_encoded_in_python_is_told() -> None:
    assert [line.strip() for line in drawn(PLAN) if "coded" in line] == [
        *["decoded by compiled code"] * len(PLAN.events),
        "vectors encoded by compiled code",
    ]
    odd, buys = replace(PLAN.events["View"], key="seconds"), PLAN.models["Buys"]
    field = {"name": "views", "type": avro_type(Kind.LIST, True, Kind.INT)}
    schema = {**buys.vector_schema, "fields": [*buys.vector_schema["fields"][:-1], field]}
    slow = replace(PLAN, events={**PLAN.events, "View": odd}, models={"Buys": replace(buys, vector_schema=schema)})
    told = [line.strip() for line in drawn(slow) if "coded" in line]
    assert [line for line in told if line != "decoded by compiled code"] == [
        "decoded record by record: the key seconds is neither text nor a whole number",
        "vectors encoded by compiled code; the lists and maps in Python: views",
    ]
