"""One log with every edge value, and a model over every aggregate of every kind of input: what the grid is computed from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import harness
from harness import SECOND_US, START_US
from made_aggregates import GREATEST, LEAST, MAKE

from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.schemas import aggregates as ag
from samestream.schemas.aggregates import Aggregate
from samestream.schemas.app import app_of
from samestream.schemas.expressions import Expr, Kind
from samestream.streams.lowering import compile_app
from samestream.streams.plan import Plan
from samestream.streams.transport import Outgoing
from samestream.trainers import gradient_boosting


class Fact(Event, topic="grid.facts", lateness="30s"):
    edge: Field[str] = key()
    ints: Field[int | None] = field()
    floats: Field[float | None] = field()
    bools: Field[bool | None] = field()
    times: Field[datetime | None] = field()
    strings: Field[str | None] = field()
    lists: Field[list[int] | None] = field()
    maps: Field[dict[str, int] | None] = field()
    at: Field[datetime] = event_time()


class Ask(Event, topic="grid.asks", lateness="1h"):
    edge: Field[str] = key()
    at: Field[datetime] = event_time()


ROWS = "rows"
INPUTS: Mapping[str, Any] = {ROWS: None} | {
    name: Fact.fields[name] for name in Fact.fields if name not in ("edge", "at")
}
"""The kinds of input: the rows themselves, and a column of each kind."""
# one value of each column, and another
ONE = {"ints": 7, "floats": 2.5, "bools": True, "times": START_US - 5, "strings": "b", "lists": [1], "maps": {"a": 1}}
TWO = {"ints": -3, "floats": 0.1, "bools": False, "times": 0, "strings": "a", "lists": [], "maps": {}}
NULLS: dict[str, Any] = dict.fromkeys(ONE)
EDGES: Mapping[str, list[dict[str, Any]]] = {
    "empty window": [],
    "only nulls": [NULLS, NULLS],
    "one value": [ONE],
    "tie in time": [TWO, ONE],
    "late event": [ONE, TWO],
    "null beside a value": [ONE, NULLS],
    "inf": [{"floats": 1.0}, {"floats": math.inf}],
    "-inf": [{"floats": -math.inf}, {"floats": 1.0}],
    "nan": [{"floats": 1.0}, {"floats": math.nan}],
    "-0.0": [{"floats": -0.0}, {"floats": -0.0}],
    "0.0 beside -0.0": [{"floats": 0.0}, {"floats": -0.0}],
    "1e16 beside 1": [{"floats": 1e16}, {"floats": 1.0}],
    "64-bit limits": [{"ints": GREATEST}, {"ints": LEAST}, {"ints": GREATEST}],
    "empty text": [{"strings": ""}, {"strings": "a"}],
    "non-ASCII text": [{"strings": "é"}, {"strings": "\U0001d11e"}, {"strings": "ﬀ"}, {"strings": "é"}],
}


def edges_of(input: str) -> list[str]:
    """The edges that concern an input: those in which it has a value or might have one."""
    return [edge for edge, rows in EDGES.items() if input == ROWS or not rows or any(input in row for row in rows)]


class Case(NamedTuple):
    """An aggregate of an input, or why it is refused."""

    cls: type[Aggregate]
    input: str
    made: list[Aggregate]


def cases() -> Iterator[Case]:
    """Every class of the language with every kind of input."""
    for cls in ag.AGGREGATES:
        for input, column in INPUTS.items():
            taken = cls.takes_rows if column is None else column.kind in cls.accepts
            yield Case(cls, input, [make(column) for make in MAKE[cls]] if taken else [])


def seen(value: Expr[Any]) -> list[Expr[Any]]:
    """What a model can be given of a value: of a list its length and its ends, of a time its microseconds."""
    if value.kind is Kind.LIST:
        return [value.length(), *(part for at in (0, 1, -1) for part in seen(value.at(at)))]
    return [value.cast(int)] if value.kind is Kind.TIME else [value]


WINDOWS = {"over": "1h", "session": "30m"}
"""The kernel holds what it can of the first; sessions always run on the general path."""


def model() -> tuple[Any, Plan, dict[str, list[tuple[str, Aggregate]]]]:
    """The app, its plan, and by `class(input)` the outputs that show it."""
    features: dict[str, Any] = {}
    shown: dict[str, list[tuple[str, Aggregate]]] = {}
    for case in cases():
        for number, aggregate in enumerate(case.made):
            for keyword, length in WINDOWS.items():
                event = Fact if aggregate.input is None else None
                value = ag.declare_aggregate(aggregate, {keyword: length}, event)
                name = f"{aggregate.name}_{case.input}_{number}_{keyword}"
                for place, part in enumerate(seen(value)):
                    features[f"{name}_{place}"] = part
                    shown.setdefault(f"{aggregate.name}({case.input})", []).append((f"{name}_{place}", aggregate))
    now = type("Now", (Features,), features, by=Fact.edge)
    inputs = {name: getattr(now, name) for name in features}
    inputs["y"] = label(Fact.floats > 0, by=Fact.edge, within="1h")
    answer = type("Answer", (Model,), inputs, on=Ask, trainer=gradient_boosting(every="1d", history="7d"))
    app = app_of([Fact, Ask, now, answer], name="grid")
    return app, compile_app(app), shown


def log(plan: Plan) -> list[Outgoing]:
    """The events of every edge, a second apart, then a question about each; the late ones come last of all."""
    clock, facts, late = START_US, [], []
    for edge, rows in EDGES.items():
        for number, row in enumerate(rows):
            clock += 0 if edge == "tie in time" and number else SECOND_US
            values = NULLS | row | {"edge": edge, "at": clock}
            if edge == "late event" and number:
                late.append(values)
            else:
                facts.append(harness.encode(plan, "Fact", edge, clock, **values))
    asked = clock + 600 * SECOND_US
    # what makes the late event late: its partition has seen a later time than its lateness allows
    facts += [
        harness.encode(plan, "Fact", edge, asked - SECOND_US, **NULLS | {"edge": edge, "at": asked - SECOND_US})
        for edge in ("late event", "nobody asks")
    ]
    facts += [harness.encode(plan, "Fact", values["edge"], asked - SECOND_US, **values) for values in late]
    return facts + [harness.encode(plan, "Ask", edge, asked, edge=edge, at=asked) for edge in EDGES]


INEXACT = (ag.Sum, ag.Variance, ag.DecayedSum)  # and what derives from them


def agrees(found: Any, expected: Any, aggregate: Aggregate, edge: str, tolerance: float) -> bool:
    """To the bit; in SQL, sums of floats within 1e-9 of the sum of the sizes (DESIGN section 2), and any sign of zero."""
    if tolerance and isinstance(found, float) and found == expected == 0.0:
        return True
    exact = not tolerance or not isinstance(aggregate, INEXACT) or aggregate.input is None
    if exact or not isinstance(found, float) or not isinstance(expected, float):
        return repr(found) == repr(expected)
    if not (math.isfinite(found) and math.isfinite(expected)):
        return repr(found) == repr(expected)
    values = [row.get(repr(aggregate.input).removeprefix("Fact.")) for row in EDGES[edge]]
    sizes = [abs(float(value)) for value in values if value is not None and math.isfinite(value)]
    if not isinstance(aggregate, ag.Variance):
        return abs(found - expected) <= tolerance * sum(sizes)
    if isinstance(aggregate, ag.Std):
        found, expected = found * found, expected * expected
    return abs(found - expected) <= tolerance * sum(x * x for x in sizes)
