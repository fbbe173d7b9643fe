"""The declaration as a value, and what is said of two that differ."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samestream.schemas.app import load
from samestream.streams.deploy import declaration, provision
from samestream.streams.deploy.changes import Change, Difference, compare, in_words, level, unreadable
from samestream.streams.deploy.declaration import Declaration, declare, from_json, recorded, to_json
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport

SOURCE = """
from datetime import datetime
from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.trainers import gradient_boosting
from samestream.monitors import Monitors, drift

class Ride(Event, topic="city.rides", lateness="10m"):
    rider: Field[str] = key()
    zone: Field[str] = field()
    fare: Field[float] = field()
    seats: Field[int] = field()
    note: Field[str | None] = field()
    at: Field[datetime] = event_time()

class Paid(Event, topic="city.paid", lateness="1d"):
    rider: Field[str] = key()
    amount: Field[float] = field()
    at: Field[datetime] = event_time()

class ZoneNow(Features, by=Ride.zone):
    mean_fare = Ride.fare.mean(over="1h")
    rides = Ride.count(over="3h", where=Ride.fare > 2)

class Tips(Model, on=Ride, trainer=gradient_boosting(every="1d", history="30d")):
    fare = ZoneNow.mean_fare
    share = ZoneNow.mean_fare / ZoneNow.rides
    paid = label(Paid.amount > 15, by=Paid.rider, within="1d")

class TipsHealth(Monitors, of=Tips, alarms="1/week"):
    scores = drift(window="1d")
"""
Declare = Callable[..., Declaration]


@pytest.fixture
def declared(tmp_path: Path) -> Iterator[Declare]:
    """The declaration in SOURCE after some edits."""
    before = set(sys.modules)

    def make(*edits: tuple[str, str]) -> Declaration:
        source = SOURCE
        for old, new in edits:
            assert old in source, old
            source = source.replace(old, new)
        (tmp_path / "city.py").write_text(source)
        app = load(str(tmp_path / "city.py"))
        return declare(app, compile_app(app))

    yield make
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def refused(found: Difference) -> list[tuple[str, str, str]]:
    return [(one.code, one.where, one.what) for one in found.consequences if one.is_refused]


def codes(found: Difference) -> list[str]:
    return [one.code for one in found.consequences]


def changes(found: Difference) -> list[tuple[str, str, str]]:
    return [(one.part, one.how, one.words) for one in found.changes]


def test_it_survives_as_text_and_what_a_later_release_adds_is_passed_over(declared: Declare) -> None:
    made = declared()
    assert from_json(to_json(made)) == made
    assert from_json(to_json(made)[:-1] + ', "later": 1}') == made


def test_lineage_goes_from_a_field_to_the_monitors(declared: Declare) -> None:
    assert declared().touched_by("Ride.fare") == [
        "ZoneNow.mean_fare",
        "ZoneNow.rides",
        "Tips",
        "Tips.fare",
        "Tips.share",
        "TipsHealth",
    ]
    assert declared().touched_by("Paid.amount") == ["Tips.paid"]
    assert declared().touched_by("Ride.note") == []


def test_the_same_declaration_has_no_difference(declared: Declare) -> None:
    found = compare(declared(), declared(("Ride.fare > 2", "2 < Ride.fare")))
    assert (found.is_same, found.schemas, found.outputs) == (True, {}, {})


def test_a_window_is_told_in_words_with_all_it_touches(declared: Declare) -> None:
    found = compare(declared(), declared(('mean(over="1h")', 'mean(over="3h")')))
    touched = ("Tips", "Tips.fare", "Tips.share", "TipsHealth")
    assert found.changes == (Change("ZoneNow.mean_fare", "feature", "changed", "over 1h -> 3h", touched),)
    assert refused(found) == []
    assert codes(found) == ["state", "definition"]
    assert found.consequences[0].what == "their state is rebuilt from the log, as far back as 181m"
    assert "samestream train MODULE --model Tips" in found.consequences[1].remedy
    assert found.outputs == {"Tips": ("city.features.Tips", "city.predictions.Tips", "city.outcomes.Tips")}
    assert found.schemas == {}


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (("Ride.fare > 2", "Ride.fare > 3"), ("ZoneNow.rides", "changed", "where=(Ride.fare > 2)")),
        (('lateness="10m"', 'lateness="1m"'), ("Ride", "changed", "lateness 10m -> 1m")),
        (('within="1d"', 'within="2d"'), ("Tips.paid", "changed", "within 1d -> 2d")),
        (("by=Ride.zone", "by=Ride.rider"), ("ZoneNow", "changed", "by Ride.zone -> Ride.rider")),
        (('every="1d"', 'every="2d"'), ("Tips trainer", "changed", "every 1d -> 2d")),
        (
            ('drift(window="1d")', 'drift(window="2d")'),
            ("TipsHealth", "changed", "scores drift(window=1d) -> drift(window=2d)"),
        ),
        (('alarms="1/week"', 'alarms="3/week"'), ("TipsHealth", "changed", "alarms per week 1 -> 3")),
        (
            ("mean_fare", "usual_fare"),
            ("ZoneNow.usual_fare", "renamed", "ZoneNow.mean_fare -> ZoneNow.usual_fare, the same meaning"),
        ),
        (
            ("fare: Field[float] = field()", 'fare: Field[float] = field(unit="EUR")'),
            ("Ride.fare", "described", "unit none -> EUR"),
        ),
    ],
)
def test_every_change_is_told(declared: Declare, edit: tuple[str, str], expected: tuple[str, str, str]) -> None:
    part, how, words = expected
    told = changes(compare(declared(), declared(edit)))
    assert [one for one in told if one[:2] == (part, how) and words in one[2]], told


REFUSALS = {
    "another key": (
        [
            (
                "    rider: Field[str] = key()\n    zone: Field[str] = field()\n",
                "    rider: Field[str] = field()\n    zone: Field[str] = key()\n",
            )
        ],
        (
            "key",
            "Ride.zone",
            "the key was rider (string) and is zone (string): what lies in city.rides lies by the old one",
        ),
    ),
    "another kind of key": (
        [("rider: Field[str]", "rider: Field[int]")],
        (
            "key",
            "Ride.rider",
            "the key was rider (string) and is rider (long): what lies in city.rides lies by the old one",
        ),
    ),
    "a kind without promotion": (
        [("fare: Field[float]", "fare: Field[int]")],
        ("kind", "Ride.fare", "double -> long: events already written cannot be read any more"),
    ),
    "no more nulls": (
        [("note: Field[str | None]", "note: Field[str]")],
        ("kind", "Ride.note", "string or null -> string: events already written cannot be read any more"),
    ),
    "a new field that must be there": (
        [("    note: Field", "    tip: Field[float] = field()\n    note: Field")],
        ("required", "Ride.tip", "events already written have no such field, and could not be read any more"),
    ),
    "a field that is read": (
        [("    fare: Field[float] = field()\n", ""), ("Ride.fare", "Ride.seats")],
        (
            "removed-field",
            "Ride.fare",
            "what runs now still reads it: ZoneNow.mean_fare, ZoneNow.rides, Tips, Tips.fare, Tips.share, TipsHealth",
        ),
    ),
    "a field that every event has": (
        [("    seats: Field[int] = field()\n", "")],
        ("removed-field", "Ride.seats", "what runs now still reads it: every process that reads the event"),
    ),
    "another topic": (
        [("city.rides", "city.trips")],
        ("topic", "Ride", "city.rides -> city.trips: what is in the old topic is no longer read"),
    ),
    "another name": (
        [("Ride", "Trip")],
        ("name", "Ride", "city.rides is now declared as Trip; what was written as Ride cannot be read as that"),
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_breaks_the_log_or_what_runs_is_refused_with_a_remedy(declared: Declare, what: str) -> None:
    edits, expected = REFUSALS[what]
    found = compare(declared(), declared(*edits))
    assert refused(found)[0] == expected
    assert {code for code, _, _ in refused(found)} == {expected[0]}
    assert all(one.remedy for one in found.consequences)


@pytest.mark.parametrize(
    ("edits", "noted"),
    [
        ([("seats: Field[int]", "seats: Field[float]")], "forward"),
        ([("seats: Field[int]", "seats: Field[int | None]")], "forward"),
        ([('lateness="10m"', 'lateness="1m"')], "lateness"),
        ([("Paid.amount > 15", "Paid.amount > 16")], "label"),
        ([('by=Paid.rider, within="1d"', 'by=Paid.rider, within="2d"')], "label"),
    ],
)
def test_what_can_be_lived_with_is_noted_only(declared: Declare, edits: list[tuple[str, str]], noted: str) -> None:
    found = compare(declared(), declared(*edits))
    assert noted in codes(found)
    assert refused(found) == []


def test_a_new_field_with_nulls_and_a_field_nobody_reads_break_nothing(declared: Declare) -> None:
    more = ("    note: Field", "    tip: Field[float | None] = field()\n    note: Field")
    assert codes(compare(declared(), declared(more))) == []
    assert compare(declared(), declared(more)).schemas == {"city.rides": "full"}
    assert codes(compare(declared(), declared(("    note: Field[str | None] = field()\n", "")))) == []


NESTED = (
    (
        "class Ride(",
        "class Place(Record):\n    city: Field[str] = field()\n    zip: Field[int] = field()\n\nclass Ride(",
    ),
    ("import Event,", "import Record, nested, Nested, Event,"),
    ("    note: Field", "    place: Nested[Place | None] = nested()\n    note: Field"),
)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (("    city: Field[str]", "    city: Field[int]"), ("kind", "Ride.place.city")),
        (
            ("    city: Field[str]", "    street: Field[str] = field()\n    city: Field[str]"),
            ("required", "Ride.place.street"),
        ),
        (("    zip: Field[int] = field()\n", ""), ("removed-field", "Ride.place.zip")),
    ],
)
def test_fields_of_nested_records_are_compared_too(
    declared: Declare, edit: tuple[str, str], expected: tuple[str, str]
) -> None:
    found = compare(declared(*NESTED), declared(*NESTED, edit))
    assert [one[:2] for one in refused(found)] == [expected]
    assert compare(declared(), declared(*NESTED)).schemas == {"city.rides": "full"}


def test_versions_count_changes_of_meaning_only(declared: Declare) -> None:
    first = declared().following(None)
    assert {part.version for part in first.parts.values()} == {1}
    second = declared(('mean(over="1h")', 'mean(over="3h")')).following(first)
    third = declared(("Ride.fare > 2", "Ride.fare > 3"), ('mean(over="1h")', 'mean(over="3h")')).following(second)
    assert [one.version for one in (first, second, third)] == [1, 2, 3]
    versions = [third.parts[name].version for name in ("ZoneNow.mean_fare", "ZoneNow.rides", "Tips.fare", "Ride.fare")]
    assert versions == [2, 2, 2, 1]
    assert declared().same_as(first)
    assert not declared().same_as(second)


def test_what_was_recorded_is_found_again_beside_the_schemas(declared: Declare, tmp_path: Path) -> None:
    transport = MemoryTransport(MemoryBroker())
    assert recorded(transport, "city.schemas") == []
    first = declared().following(None)
    app = load(str(tmp_path / "city.py"))
    plan = compile_app(app)
    assert provision.provision(transport, app, plan).version == 1
    second = declared(("Ride.fare > 2", "Ride.fare > 3")).following(first)
    declaration.record(transport, plan.schemas, second)
    assert recorded(transport, plan.schemas) == [first, second]
    again = provision.provision(transport, app, plan)
    assert (again.topics, again.schemas, again.version) == ([], [], 3)
    assert provision.provision(transport, app, plan).version is None


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("x.mean(over='1h')", "x.mean(over='3h', tile='1m')", "x.mean(over='1h') -> x.mean(over='3h', tile='1m')"),
        ("a.sum(over='1h', tile='1m')", "a.sum(over='2h', tile='5m')", "over 1h -> 2h, tile 1m -> 5m"),
        ("a.sum(over='1h')", "a.mean(over='1h')", "a.sum(over='1h') -> a.mean(over='1h')"),
        ("a.quantile(q=0.5, over='1h')", "a.quantile(q=0.9, over='1h')", "q 0.5 -> 0.9"),
        ("a.sum(over='1h') / a.count(over='1h')", "a.sum(over='2h') / a.count(over='2h')", "over 1h -> 2h"),
    ],
)
def test_only_the_options_that_differ_are_told(before: str, after: str, words: str) -> None:
    assert in_words(before, after) == words


TYPES = st.sampled_from(
    ["long", "double", "boolean", "string", ["null", "long"], ["null", "double"], ["null", "string"]]
)
VALUES = {"long": 7, "double": 0.5, "boolean": True, "string": "x"}


@st.composite
def records(draw: st.DrawFn) -> Any:
    fields = []
    for name in draw(st.sets(st.sampled_from("abc"))):
        type_ = draw(TYPES)
        default = {"default": None} if isinstance(type_, list) and draw(st.booleans()) else {}
        fields.append({"name": name, "type": type_, **default})
    return {"type": "record", "name": "R", "fields": fields}


@given(records(), records(), st.booleans())
def test_what_is_said_to_be_readable_is_readable(writer: Any, reader: Any, nulls: bool) -> None:
    """Against fastavro: every value of the writer reads if nothing is unreadable; if something is, some value does not."""

    def written(type_: Any, null: bool) -> Any:
        return (None if null else VALUES[type_[1]]) if isinstance(type_, list) else VALUES[type_]

    def reads(null: bool) -> bool:
        body = io.BytesIO()
        fastavro.schemaless_writer(
            body, writer, {part["name"]: written(part["type"], null) for part in writer["fields"]}
        )
        body.seek(0)
        try:
            fastavro.schemaless_reader(body, writer, reader)
        except Exception:
            return False
        return True

    assert (reads(True) and reads(False)) == (not unreadable(writer, reader))
    both = {(True, True): "full", (True, False): "backward", (False, True): "forward", (False, False): "none"}
    assert level(writer, reader) == both[not unreadable(writer, reader), not unreadable(reader, writer)]
