"""Fields of true and false, of instants and of many texts: calm where nothing is wrong, and quick where something is."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.console.declared_monitors import fields
from samestream.monitors import instant_watch
from samestream.monitors.declared import Monitors, drift, quality
from samestream.monitors.incidents import DAY_US, HOUR_US, Finding
from samestream.monitors.source_spec import SourceSpec
from samestream.monitors.sources import SourceFamily, SourceWatch
from samestream.monitors.task import make_watch
from samestream.monitors.text_codes import NO_FORM, TextCodes
from samestream.monitors.text_watch import MANY
from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.schemas.app import App
from samestream.streams.lowering import compile_app
from samestream.trainers import gradient_boosting

DAYS, A_DAY = 24, 1440
"""Days of history, and events a day: sixty an hour."""
STRUCK_US = DAYS * DAY_US + 10 * HOUR_US
SPEC = SourceSpec(
    "Order", (), {}, {}, 0, False, ("sku",), flag_fields=("express", "fragile"), instant_fields=("promised", "packed")
)
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Told:
    """What was told of faults: the first and the last verdict, the cause, the faulty events up to then, and its evidence."""

    first: str
    last: str
    cause: str
    events: int
    evidence: dict[str, Any]


def made(rng: np.random.Generator, days: int) -> tuple[np.ndarray, Columns]:
    """Times, and calm columns. 3,000 texts, of which some are far commoner than others; one flag hardly ever true."""
    n = days * A_DAY
    times = np.sort(rng.integers(0, days * DAY_US, n))
    hours = np.round(rng.lognormal(3.0, 0.4, n), 2)
    return times, {
        "sku": np.array([f"sku-{int(3000 * x * x)}" for x in rng.random(n)], object),
        "express": rng.random(n) < 0.3,
        "fragile": rng.random(n) < 0.001,
        "promised": times + DAY_US,
        "packed": times + (hours * HOUR_US).astype(np.int64),
    }


def source() -> tuple[SourceWatch, SourceFamily]:
    watch = SourceWatch(SPEC, silence_us=None, quality=True)
    return watch, SourceFamily({"Order": watch}, 0.5)


def add(watch: SourceWatch, times: np.ndarray, columns: Columns, there: np.ndarray | None = None) -> None:
    valid = np.ones(len(times), np.bool_) if there is None else there
    watch.add(times, times, {name: (values, valid) for name, values in columns.items()}, None, None)


@cache
def taught() -> tuple[SourceFamily, np.ndarray, Columns]:
    """A source that had 24 calm days and ten hours, of which it told nothing; and its next six hours."""
    times, columns = made(np.random.default_rng(8), DAYS + 1)
    before, after = times < STRUCK_US, (times >= STRUCK_US) & (times < STRUCK_US + 6 * HOUR_US)
    watch, family = source()
    add(watch, times[before], {name: values[before] for name, values in columns.items()})
    said: list[Finding] = []
    family.advance(STRUCK_US, lambda cause, findings, at_us: bool(said.extend(findings)))
    assert family.limits is not None
    assert (said, family.blind) == ([], [])
    return family, times[after], {name: values[after] for name, values in columns.items()}


def told(strike: Callable[[Columns], Any], *, missing: bool = False) -> Told | None:
    """What is told in the six hours in which columns are struck, from ten in the morning on."""
    family, times, calm = taught()
    columns = {name: values.copy() for name, values in calm.items()}
    strike(columns)
    family = deepcopy(family)
    add(family.sources["Order"], times, columns, np.full(len(times), not missing))
    said: list[tuple[int, str, Finding]] = []
    whole: list[Mapping[str, Any]] = []

    def observe(cause: str, findings: Sequence[Finding], now_us: int) -> bool:
        if findings:
            best = max(findings, key=lambda one: one.score)
            said.append((min(one.since_us or now_us for one in findings), cause, best))
            whole.append(best.whole(STRUCK_US))
        return bool(findings)

    family.advance(STRUCK_US + 6 * HOUR_US, observe)
    if not said:
        return None
    events = int(np.count_nonzero(times <= said[0][0]))
    return Told(said[0][2].verdict, said[-1][2].verdict, said[0][1], events, dict(whole[-1]))


def put(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Columns], None]:
    def strike(columns: Columns) -> None:
        columns[name][:] = change(columns[name])

    return strike


def test_calm_columns_are_calm() -> None:
    assert told(lambda columns: None) is None


@pytest.mark.parametrize(
    ("field_", "change", "verdict", "within"),
    [
        ("sku", lambda v: [text.upper() for text in v], "respelled", 3),
        ("sku", lambda v: [text.replace("-", " ") for text in v], "respelled", 3),
        ("express", lambda v: False, "frozen", 60),  # an hour: seven of ten are false anyway
        ("express", lambda v: True, "frozen", 15),
        ("promised", lambda v: v + 59 * DAY_US, "shifted", 4),
        ("promised", lambda v: v + HOUR_US, "shifted", 4),
        ("packed", lambda v: v + 59 * DAY_US, "shifted", 5),
        ("promised", lambda v: 0, "zeroed", 3),
        ("promised", lambda v: v // 1000, "unit", 4),
        ("packed", lambda v: v * 1000, "unit", 5),
        ("promised", lambda v: v[0], "frozen", 4),
        ("packed", lambda v: v[0], "frozen", 4),
    ],
)  # fmt: skip
def test_a_fault_is_told_within_a_few_values(
    field_: str, change: Callable[[np.ndarray], Any], verdict: str, within: int
) -> None:
    found = told(put(field_, change))
    assert found is not None
    assert (found.last, found.cause) == (verdict, f"Order.{field_}")
    assert found.events <= within
    if verdict in ("frozen", "respelled"):  # the others name instants by themselves
        assert {type(one["value"]) for one in found.evidence["examples"]} == {bool if field_ == "express" else str}


def test_missing_ones_are_told_at_the_second() -> None:
    found = told(lambda columns: None, missing=True)
    assert found is not None
    assert (found.first, found.events) == ("nulls", 2)


def test_a_flag_that_was_hardly_ever_true_is_so_for_one_in_twenty() -> None:
    def strike(columns: Columns) -> None:
        columns["fragile"][::20] = True

    found = told(strike)
    assert found is not None
    assert (found.last, found.cause, found.evidence["value"]) == ("sentinel", "Order.fragile", True)
    assert found.events <= 6 * 20


def test_a_flag_that_means_the_opposite_is_inverted() -> None:
    rng = np.random.default_rng(4)
    watch, family = source()
    times, columns = made(rng, DAYS + 1)
    columns["express"] = rng.random(len(times)) < 0.1
    columns["express"][times >= DAYS * DAY_US] ^= True
    add(watch, times, columns)
    last = ""

    def observe(cause: str, findings: Sequence[Finding], now_us: int) -> bool:
        nonlocal last
        last = max(findings, key=lambda one: one.score).verdict if findings else last
        return bool(findings)

    family.advance(DAYS * DAY_US, observe)
    assert last == ""
    family.advance((DAYS + 1) * DAY_US, observe)
    assert last == "inverted"


def test_a_new_text_among_three_thousand_is_a_new_category() -> None:
    def strike(columns: Columns) -> None:
        columns["sku"][::2] = [f"part{n}" for n in range(len(columns["sku"][::2]))]

    found = told(strike)
    assert found is not None
    assert found.last == "new_category"


def test_what_is_told_of_instants_can_be_read() -> None:
    found = told(put("promised", lambda values: values + 59 * DAY_US))
    assert found is not None
    assert found.evidence["hours_after_event"]["before"] == {"q10": 24.0, "q50": 24.0, "q90": 24.0}
    assert found.evidence["hours_after_event"]["after"]["q90"] == 60 * 24
    assert found.evidence["examples"][0].startswith("1970-03-26T")
    assert found.evidence["examples_hours_after_event"] == [60 * 24] * 3
    assert instant_watch._written(10**18 * 9)[-1] == "Z"  # far beyond what a datetime holds


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32),
    often=st.floats(0.0, 1.0),
    stays=st.floats(0.0, 0.95),
    spread=st.floats(0.0, 1.5),
    many=st.sampled_from([2, 40, 3000, 10**9]),
    missing=st.floats(0.0, 0.3),
)
def test_no_level_of_a_stationary_stream_goes_far(
    seed: int, often: float, stays: float, spread: float, many: int, missing: float
) -> None:
    """A level of h nats comes once in e^h events at most (Lorden): none of 12,000 reaches twenty but for a chance of 2e-5."""
    rng = np.random.default_rng(seed)
    watch, family = source()
    n = 30 * 400
    times = np.sort(rng.integers(0, 30 * DAY_US, n))
    fresh = rng.random(n) < often
    express = fresh[np.maximum.accumulate(np.where(rng.random(n) < stays, 0, np.arange(n)))]
    hours = 24 * rng.lognormal(0, spread, n) if spread else np.full(n, 24.0)
    columns: Columns = {
        "sku": np.array([f"sku{int(many * x * x)}" for x in rng.random(n)], object),
        "express": express,
        "fragile": rng.random(n) < often / 1000,
        "promised": times + (hours * HOUR_US).astype(np.int64),
        "packed": (times + DAY_US) // DAY_US * DAY_US,
    }
    add(watch, times, columns, rng.random(n) >= missing)
    peaks: dict[str, float] = {}
    for day in range(30):
        family.advance((day + 1) * DAY_US, lambda cause, findings, at_us: bool(findings))
        for part in (*watch.texts, *watch.flags, *watch.instants):
            history = part.detectors.history[-1:]
            for name, peak in zip(part.detectors.names, history[0][1] if history else (), strict=False):
                peaks[f"{part.cause} {name}"] = max(peaks.get(f"{part.cause} {name}", 0.0), float(peak))
    assert {name: peak for name, peak in peaks.items() if peak > 20} == {}


def test_spellings_that_always_came_both_ways_are_none() -> None:
    watch, family = source()
    rng = np.random.default_rng(6)
    times, columns = made(rng, DAYS + 2)
    either = rng.random(len(times)) < 0.5
    columns["sku"] = np.where(either, [text.upper() for text in columns["sku"]], columns["sku"])
    add(watch, times, columns)
    opened: list[str] = []
    family.advance((DAYS + 2) * DAY_US, lambda cause, findings, at_us: opened.extend(one.verdict for one in findings))
    assert "respelled" not in opened


def test_a_field_that_names_things_is_numbered_no_more_and_told_as_blind() -> None:
    watch, family = source()
    n = MANY // 10
    for day in range(DAYS):
        times, columns = made(np.random.default_rng(day), 1)
        times, columns = times + day * DAY_US, {name: values.copy() for name, values in columns.items()}
        more = np.sort(np.concatenate([times, np.linspace(day * DAY_US, (day + 1) * DAY_US - 1, n).astype(np.int64)]))
        places = np.searchsorted(times, more, side="right").clip(1) - 1
        columns = {name: values[places] for name, values in columns.items()}
        columns["sku"] = np.array([f"{day} {at}" for at in range(len(more))], object)
        add(watch, more, columns)
        family.advance((day + 1) * DAY_US, lambda cause, findings, at_us: bool(findings))
    assert f"Order.sku: more than {MANY:,} texts" in family.blind
    kept = len(watch._codes.said)
    assert MANY <= kept < MANY + A_DAY + n
    assert len(watch._codes.forms) == kept


def test_detectors_without_a_say_are_told_with_their_field() -> None:
    watch, family = source()
    rng = np.random.default_rng(3)
    times, columns = made(rng, 30)
    columns["express"] = times // DAY_US % 7 < 5  # the same all day long, and the other at weekends
    add(watch, times, columns)
    family.advance(30 * DAY_US, lambda cause, findings, at_us: bool(findings))
    assert "Order.express: inverted" in family.blind


def test_texts_of_one_normal_form_are_one_but_for_their_spelling() -> None:
    codes = TextCodes()
    texts = ["São-Paulo", "sao paulo", None, "Rio", "-", "—", "SAO PAULO"]
    found = codes.of(texts)
    assert found.tolist() == [0, 1, -1, 2, 3, 4, 5]
    assert codes.forms.tolist() == [0, 0, 1, NO_FORM, NO_FORM, 0]


class Sale(Event, topic="sales", lateness="10m"):
    """An event with a field of each kind."""

    sale_id: Field[str] = key()
    shop: Field[str] = field()
    amount: Field[float] = field(low=0)
    express: Field[bool] = field()
    promised: Field[datetime] = field()
    unread: Field[bool] = field()
    at: Field[datetime] = event_time()


class ShopNow(Features, by=Sale.shop):
    """Of the shop."""

    express_1d = Sale.count(over="1d", where=Sale.express)


class Returned(Model, on=Sale, trainer=gradient_boosting(every="1d", history="30d")):
    """Reads a field of each kind, and the event's own time, whose distance from itself says nothing."""

    shop_express = ShopNow.express_1d
    amount = Sale.amount
    promised_hour = Sale.promised.hour()
    hour = Sale.at.hour()
    back = label(Sale.amount > 0, by=Sale.sale_id, within="3d")


class Health(Monitors, of=Returned, alarms="1/week"):
    """All sources."""

    features = quality(), drift(window="1d")


def test_fields_that_a_model_reads_are_watched_whatever_their_kind() -> None:
    app = App("sales", {"Sale": Sale}, {"ShopNow": ShopNow}, {"Returned": Returned}, {"Health": Health})
    plan = compile_app(app)
    (source,) = make_watch(plan, plan.models["Returned"], Health.__monitors__)._sources.values()
    ((event, watched, _),) = fields(plan, Health.__monitors__)  # as `samestream plan` tells it
    assert (event, set(watched)) == ("Sale", set(source.spec.fields))
    spec = source.spec
    assert (spec.numeric_fields, spec.text_fields) == (("amount",), ("shop",))
    assert (spec.flag_fields, spec.instant_fields) == (("express",), ("promised",))
    assert [watch.cause for watch in (*source.flags, *source.instants)] == ["Sale.express", "Sale.promised"]
