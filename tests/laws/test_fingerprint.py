"""A fingerprint is of meaning, not of text: what changes no value keeps it, what could change one does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samestream.schemas.app import load
from samestream.schemas.arithmetic import Add, Divide, Multiply, Subtract
from samestream.schemas.comparisons import Equal, Greater, GreaterOrEqual, Less, LessOrEqual
from samestream.schemas.conditional import And, Or
from samestream.schemas.expressions import Column, Expr, Kind
from samestream.streams.columns import ColumnData
from samestream.streams.engine import evaluate
from samestream.streams.lowering import compile_app
from samestream.streams.plan import Plan

SOURCE = """
from datetime import datetime, timezone
from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.trainers import gradient_boosting

class Ride(Event, topic="city.rides", lateness="10m", alignment="1h", ahead="1h"):
    rider: Field[str] = key()
    zone: Field[str] = field()
    fare: Field[float] = field()
    tip: Field[float | None] = field()
    extra: Field[str | None] = field()
    at: Field[datetime] = event_time(latest=datetime(2100, 1, 1, tzinfo=timezone.utc))

class Paid(Event, topic="city.paid", lateness="1d"):
    rider: Field[str] = key()
    amount: Field[float] = field()
    at: Field[datetime] = event_time()

class ZoneNow(Features, by=Ride.zone):
    mean_fare = (Ride.fare + Ride.tip).mean(over="1h")
    rides = Ride.count(over="3h", where=(Ride.fare > 2) & (Ride.tip > 1))

class Tips(Model, on=Ride, trainer=gradient_boosting(every="1d", history="30d")):
    fare = ZoneNow.mean_fare * ZoneNow.rides
    share = ZoneNow.mean_fare / ZoneNow.rides
    paid = label(Paid.amount > 15, by=Paid.rider, within="1d")
"""
SAME = {
    "a variable": ("(Ride.fare + Ride.tip).mean", "(lambda both: both)(Ride.fare + Ride.tip).mean"),
    "spacing": ("Ride.fare + Ride.tip", "Ride.fare\n        +   Ride.tip"),
    "a duration in other units": ('over="1h"', 'over="60m"'),
    "the default tile, written out": ('over="3h"', 'tile="1m", over="3h"'),
    "a sum the other way round": ("Ride.fare + Ride.tip", "Ride.tip + Ride.fare"),
    "a product the other way round": ("ZoneNow.mean_fare * ZoneNow.rides", "ZoneNow.rides * ZoneNow.mean_fare"),
    "conditions the other way round": ("(Ride.fare > 2) & (Ride.tip > 1)", "(Ride.tip > 1) & (Ride.fare > 2)"),
    "a comparison the other way round": ("Ride.fare > 2", "2 < Ride.fare"),
    "the name of a view": ("ZoneNow", "HereNow"),
    "the name of a feature": ("mean_fare", "usual_fare"),
    "the order of inputs": (
        "    fare = ZoneNow.mean_fare * ZoneNow.rides\n    share = ZoneNow.mean_fare / ZoneNow.rides\n",
        "    share = ZoneNow.mean_fare / ZoneNow.rides\n    fare = ZoneNow.mean_fare * ZoneNow.rides\n",
    ),
    "the order of fields": (
        "    zone: Field[str] = field()\n    fare: Field[float] = field()\n",
        "    fare: Field[float] = field()\n    zone: Field[str] = field()\n",
    ),
    "a description": (
        "fare: Field[float] = field()",
        'fare: Field[float] = field(unit="USD", low=0, doc="what it cost")',
    ),
    "a new field that nobody reads": (
        "    extra: Field[str | None] = field()\n",
        "    extra: Field[str | None] = field()\n    more: Field[str | None] = field()\n",
    ),
    "a view that no model uses": (
        "class Tips(",
        "class Unused(Features, by=Ride.rider):\n    n = Ride.count(over='1d')\n\nclass Tips(",
    ),
    "how often it trains": ('every="1d"', 'every="2d"'),
    "partitions": ('topic="city.paid"', 'topic="city.paid", partitions=7'),
}
OTHER = {
    "a window": ('over="1h"', 'over="2h"'),
    "a tile": ('over="3h"', 'tile="5m", over="3h"'),
    "an aggregate": (".mean(over", ".sum(over"),
    "a condition": ("Ride.fare > 2", "Ride.fare > 3"),
    "a strictness": ("Ride.fare > 2", "Ride.fare >= 2"),
    "a connective": ("(Ride.fare > 2) & (Ride.tip > 1)", "(Ride.fare > 2) | (Ride.tip > 1)"),
    "no condition": (", where=(Ride.fare > 2) & (Ride.tip > 1)", ""),
    "an operation": ("Ride.fare + Ride.tip", "Ride.fare - Ride.tip"),
    "a quotient the other way round": ("ZoneNow.mean_fare / ZoneNow.rides", "ZoneNow.rides / ZoneNow.mean_fare"),
    "the entity": ("by=Ride.zone", "by=Ride.rider"),
    "lateness": ('lateness="10m"', 'lateness="11m"'),
    "alignment": ('alignment="1h"', 'alignment="2h"'),
    "ahead": ('ahead="1h"', 'ahead="2h"'),
    "the range of times": ("datetime(2100, 1, 1", "datetime(2101, 1, 1"),
    "a topic": ("city.rides", "city.trips"),
    "the key": (
        "    rider: Field[str] = key()\n    zone: Field[str] = field()\n    fare",
        "    rider: Field[str] = field()\n    zone: Field[str] = key()\n    fare",
    ),
    "a kind": ("fare: Field[float]", "fare: Field[int]"),
    "an input's name": ("    share =", "    part ="),
    "the label's horizon": ('within="1d"', 'within="2d"'),
    "the label's value": ("Paid.amount > 15", "Paid.amount > 16"),
    "the label's lateness": ('topic="city.paid", lateness="1d"', 'topic="city.paid", lateness="2d"'),
}

RICH = (
    SOURCE.replace("import Event,", "import when, Event,")
    .replace(
        "class Tips(",
        """class RiderNow(Features, by=Ride.rider):
    middle = Ride.fare.quantile(0.5, over="1h")
    newest = Ride.fare.last_n(3, over="1h")
    faded = Ride.fare.decayed_mean("2h", over="1d")
    kinds = Ride.zone.distinct(exact=100, over="1h")
    usual = Ride.zone.most_frequent(over="1h")
    today = Ride.count(every="1d", zone="Europe/Paris")
    visit = Ride.count(session="30m")

class Tips(""",
    )
    .replace(
        "    paid = label",
        """    middle = RiderNow.middle
    newest = RiderNow.newest.at(-1)
    faded = RiderNow.faded
    kinds = RiderNow.kinds
    usual = RiderNow.usual == "harbour"
    today = RiderNow.today
    visit = RiderNow.visit
    hour = Ride.at.hour("Europe/Paris")
    kept = Ride.fare.clip(0, 50)
    bucket = Ride.zone.hash_bucket(8)
    rounded = Ride.fare.round(1)
    size = when(Ride.fare > 9).then(1).when(Ride.fare > 5).then(2).otherwise(3)
    known = Ride.zone.is_in("harbour", "airport")
    cast = Ride.fare.cast(int)
    paid = label""",
    )
)
OTHER_RICH = [
    ("quantile(0.5", "quantile(0.9"),
    ("last_n(3", "last_n(4"),
    ('decayed_mean("2h"', 'decayed_mean("3h"'),
    ("exact=100", "exact=200"),
    ("most_frequent(over", "last(over"),
    ('zone="Europe/Paris"', 'zone="Europe/London"'),
    ('every="1d", zone', 'every="1w", zone'),
    ('session="30m"', 'session="20m"'),
    (".at(-1)", ".at(0)"),
    ('hour("Europe/Paris")', 'hour("Europe/London")'),
    ("at.hour(", "at.minute("),
    ("clip(0, 50)", "clip(0, 60)"),
    ("clip(0, 50)", "clip(1, 50)"),
    ("hash_bucket(8)", "hash_bucket(9)"),
    ("round(1)", "round(2)"),
    ("otherwise(3)", "otherwise(4)"),
    ("then(1).when(Ride.fare > 5).then(2)", "then(2).when(Ride.fare > 5).then(1)"),
    ('"harbour", "airport"', '"harbour"'),
    ("cast(int)", "cast(bool)"),
]


@pytest.fixture
def compiled(tmp_path: Path) -> Iterator[Any]:
    """Compile a source text; its module is forgotten afterwards."""
    before = set(sys.modules)

    def plan(source: str) -> Plan:
        path = tmp_path / "city.py"
        path.write_text(source)
        return compile_app(load(str(path)))

    yield plan
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def changed(edit: tuple[str, str]) -> str:
    assert edit[0] in SOURCE
    return SOURCE.replace(*edit)


@pytest.mark.parametrize("what", SAME)
def test_what_changes_no_value_keeps_the_fingerprint(compiled: Any, what: str) -> None:
    assert compiled(changed(SAME[what])).fingerprint == compiled(SOURCE).fingerprint


@pytest.mark.parametrize("what", OTHER)
def test_what_could_change_a_value_changes_the_fingerprint(compiled: Any, what: str) -> None:
    assert compiled(changed(OTHER[what])).fingerprint != compiled(SOURCE).fingerprint


@pytest.mark.parametrize("edit", OTHER_RICH, ids=lambda edit: edit[1])
def test_so_does_every_parameter_of_the_language(compiled: Any, edit: tuple[str, str]) -> None:
    assert edit[0] in RICH
    assert compiled(RICH.replace(*edit)).fingerprint != compiled(RICH).fingerprint


def test_what_only_looks_different_keeps_it_there_too(compiled: Any) -> None:
    same = RICH.replace('decayed_mean("2h"', 'decayed_mean("120m"').replace('session="30m"', 'session="1800s"')
    same = same.replace("quantile(0.5, ", "median(").replace('"harbour", "airport"', '"airport", "harbour", "airport"')
    assert compiled(same).fingerprint == compiled(RICH).fingerprint


def test_a_class_may_move_to_another_module(compiled: Any, tmp_path: Path) -> None:
    head, tail = SOURCE.split("class ZoneNow")
    (tmp_path / "city_events.py").write_text(head)
    (tmp_path / "moved.py").write_text(
        f"{head.split('class Ride')[0]}from city_events import *\napp = 'city'\nclass ZoneNow{tail}"
    )
    assert compile_app(load(str(tmp_path / "moved.py"))).fingerprint == compiled(SOURCE).fingerprint


NUMBERS = st.deferred(
    lambda: (
        LEAVES
        | st.builds(lambda op, a, b: op(a, b), st.sampled_from([Add, Subtract, Multiply, Divide]), NUMBERS, NUMBERS)
    )
)
LEAVES = st.sampled_from([Column("a", Kind.FLOAT), Column("b", Kind.FLOAT)])
COMPARED = st.builds(
    lambda op, a, b: op(a, b), st.sampled_from([Less, LessOrEqual, Greater, GreaterOrEqual, Equal]), NUMBERS, NUMBERS
)
CONDITIONS = st.deferred(
    lambda: COMPARED | st.builds(lambda op, a, b: op(a, b), st.sampled_from([And, Or]), CONDITIONS, CONDITIONS)
)
TURNED: dict[type, type] = {Less: Greater, Greater: Less, LessOrEqual: GreaterOrEqual, GreaterOrEqual: LessOrEqual}
VALUES = st.lists(st.one_of(st.none(), st.floats(allow_nan=False)), min_size=4, max_size=4)


def mirrored(value: Expr[Any]) -> Expr[Any]:
    """The same computation with the two sides of everything exchanged that may be."""
    if not value.args:
        return value
    left, right = map(mirrored, value.args)
    operation: Any = TURNED.get(type(value), type(value))
    return operation(right, left) if operation.commutes or type(value) in TURNED else operation(left, right)  # type: ignore[no-any-return]


def column(values: list[float | None]) -> ColumnData:
    filled = np.array([0.0 if value is None else value for value in values])
    return ColumnData(filled, np.array([value is not None for value in values]))


@given(value=NUMBERS | CONDITIONS, a=VALUES, b=VALUES)
def test_what_commutes_has_one_meaning_and_one_value_to_the_last_bit(
    value: Expr[Any], a: list[float | None], b: list[float | None]
) -> None:
    other, columns = mirrored(value), {"a": column(a), "b": column(b)}
    assert other.meaning() == value.meaning()
    first, second = (evaluate.evaluate(one, columns, 4) for one in (value, other))
    assert first.valid.tolist() == second.valid.tolist()
    assert first.values[first.valid].tobytes() == second.values[second.valid].tobytes()
