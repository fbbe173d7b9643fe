"""`samestream diff`: what is printed, and when it leaves with 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samestream.streams.memory.transport import MemoryTransport

from .conftest import FLIGHTS, Cli


@pytest.fixture
def changed(tmp_path: Path) -> str:
    """The flights, with a longer window."""
    path = tmp_path / "other" / "flights.py"
    path.parent.mkdir()
    source = Path(FLIGHTS).read_text()
    path.write_text(
        source.replace(
            'mean_delay_1h = Departure.dep_delay.mean(over="1h")', 'mean_delay_1h = Departure.dep_delay.mean(over="3h")'
        )
    )
    return str(path)


def test_a_change_is_told_with_what_follows(cli: Cli, changed: str) -> None:
    done = cli("diff", FLIGHTS, changed)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:6] == [
        "flights: 1 change in meaning, 0 in name or description",
        "",
        "changed    feature  OriginNow.mean_delay_1h: over 1h -> 3h",
        "           touches  LateArrival, LateArrival.origin_delay, LateArrival.excess_delay, LateArrivalHealth",
        "",
        "concerns   LateArrival: its training data, and whoever reads flights.features.LateArrival,"
        " flights.predictions.LateArrival, flights.outcomes.LateArrival",
    ]
    assert "note       definition LateArrival: its vectors get another fingerprint" in done.stdout


def test_the_exit_code_tells_only_if_asked_to(cli: Cli, changed: str) -> None:
    assert cli("diff", FLIGHTS, changed, "--exit-code").exit_code == 1
    same = cli("diff", FLIGHTS, FLIGHTS, "--exit-code")
    assert (same.exit_code, same.stdout) == (0, "flights: the same declaration\n")


def test_as_json_it_names_changes_consequences_and_outputs(cli: Cli, changed: str) -> None:
    found = json.loads(cli("diff", FLIGHTS, changed, "--json").stdout)
    assert (found["app"], found["same"], found["schemas"]) == ("flights", False, {})
    assert [(one["part"], one["words"]) for one in found["changes"]] == [("OriginNow.mean_delay_1h", "over 1h -> 3h")]
    assert [(one["code"], one["refused"]) for one in found["consequences"]] == [("state", False), ("definition", False)]
    assert found["outputs"]["LateArrival"][0] == "flights.features.LateArrival"
    assert found["fingerprints"]["before"] != found["fingerprints"]["after"]


def test_files_beside_the_two_modules_are_not_mixed_up(cli: Cli, tmp_path: Path) -> None:
    source = Path(FLIGHTS).read_text()
    head, tail = source.split("class CarrierNow")
    imports = head.split("class Boarding")[0]
    for folder, lateness in (("one", "10m"), ("two", "20m")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "our_events.py").write_text(head.replace('lateness="10m"', f'lateness="{lateness}"'))
        (tmp_path / folder / "app.py").write_text(f"{imports}from our_events import *\nclass CarrierNow{tail}")
    done = cli("diff", tmp_path / "one" / "app.py", tmp_path / "two" / "app.py")
    assert "changed    event    Departure: lateness 10m -> 20m" in done.stdout, done.output


@pytest.mark.parametrize("args", [(FLIGHTS,), (FLIGHTS, FLIGHTS, "--deployed"), (FLIGHTS, FLIGHTS, FLIGHTS)])
def test_two_declarations_are_needed(cli: Cli, transport: MemoryTransport, args: tuple[str, ...]) -> None:
    done = cli("diff", *args)
    assert done.exit_code == 2
    assert "diff compares two declarations" in done.stderr
    assert "Hint: samestream diff old.py new.py." in done.stderr


def test_where_nothing_was_applied_it_says_so(cli: Cli, transport: MemoryTransport) -> None:
    done = cli("diff", "--deployed", FLIGHTS)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "error: flights: nothing was applied here yet. Expected: a declaration in flights.schemas."
        " Hint: `samestream apply MODULE` records one.\n"
    )
