"""Wrong declarations of every kind, each with its whole message; the last test counts those of all files."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import new_class
from typing import Any

import pytest

from samestream.monitors import Monitors, calibration, drift, parity, performance
from samestream.schemas import Event, Features, Field, Model, OnDemand, Table, event_time, field, key, label
from samestream.schemas import app as apps
from samestream.schemas.errors import DeclarationError
from samestream.trainers import gradient_boosting, linear

TRAINER = gradient_boosting(every="1d", history="30d")


class Visit(Event, topic="shop.visits"):
    user: Field[str] = key()
    shop: Field[int] = field()
    pages: Field[float] = field()
    seen: Field[list[str]] = field()
    at: Field[datetime] = event_time()


class Order(Event, topic="shop.orders"):
    user: Field[str] = key()
    number: Field[int] = field()
    price: Field[float] = field()
    mobile: Field[bool] = field()
    tags: Field[dict[str, str]] = field()
    at: Field[datetime] = event_time()


class Shop(Table, topic="shop.shops"):
    shop: Field[int] = key()
    town: Field[str] = field()
    codes: Field[list[int]] = field()


class Spent(Features, by=Order.user):
    total_1d = Order.price.sum(over="1d")
    latest = Order.price.last_n(3, over="1d")


class ByNumber(Features, by=Order.number):
    total_1d = Order.price.sum(over="1d")


class Latest(Features, by=Order.user):
    prices = Order.price.last_n(3, over="1d")


BOUGHT = label(Order.price > 0, by=Order.user, within="1d")


class Buys(Model, on=Visit, trainer=TRAINER):
    pages = Visit.pages
    bought = BOUGHT


class Pays(Model, on=Visit, trainer=TRAINER):
    pages = Visit.pages
    paid = label(Order.price, by=Order.user, within="1d")


class Again(Monitors, of=Buys):
    features = parity()


def declare(kind: type[Any], body: dict[str, Any], types: dict[str, Any] | None = None, **options: Any) -> type[Any]:
    given = {**body, "__annotations__": types or {}, "__module__": __name__}
    return new_class("Made", (kind,), options, lambda space: space.update(given))


def event(body: dict[str, Any] | None = None, types: dict[str, Any] | None = None, **options: Any) -> type[Any]:
    """An event that is right but for what is given; a member that is None is left out."""
    members = {"id": key(), "at": event_time(), **(body or {})}
    hints = {"id": Field[str], "at": Field[datetime], **(types or {})}
    return declare(
        Event,
        {name: member for name, member in members.items() if member is not None},
        {name: hint for name, hint in hints.items() if members.get(name) is not None and hint is not None},
        **{"topic": "made", **options},
    )


def view(by: Any = Order.user, **body: Any) -> type[Any]:
    return declare(Features, body, by=by)


def model(options: dict[str, Any] | None = None, **body: Any) -> type[Any]:
    return declare(Model, {"bought": BOUGHT, **body}, **{"on": Visit, "trainer": TRAINER, **(options or {})})


def monitors(options: dict[str, Any] | None = None, **body: Any) -> type[Any]:
    return declare(Monitors, body, **{"of": Buys, **(options or {})})


def load(source: str) -> Any:
    """What a module of this source declares, in the working folder."""
    Path("wrong.py").write_text(source)
    try:
        return apps.load("wrong.py")
    finally:
        sys.modules.pop("wrong", None)


DURATION = 'Expected: a number and a unit, one of us ms s m h d w\nHint: write for example "90s", "10m", "3h" or "30d".'
TYPES = (
    "Expected: str, int, float, bool, datetime, date, Decimal, UUID, a StrEnum, list[...] or dict[str, ...] "
    "of one of these, and any of them | None\n"
    "Hint: price: Field[float] = field()."
)
BY = (
    "Expected: by=Event.field, or by=(Event.field, Event.other)\n"
    "Hint: class Made(Features, by=Departure.carrier); a table's field by Plane.of(Departure.tailnum).maker."
)
MODEL = (
    "Expected: on=an Event class, no table; trainer=gradient_boosting(...) or linear(...)\n"
    'Hint: class Made(Model, on=Boarding, trainer=gradient_boosting(every="1d", history="30d")).'
)
WATCHED = 'Expected: of=a Model class\nHint: class Made(Monitors, of=LateArrival, alarms="1/week").'
KEY = "Expected: Field[str] or Field[int]\nHint: declare the key so, and keep the other value in a plain field."

REFUSED: list[tuple[Callable[[], Any], str]] = [
    # events
    (
        lambda: event({"id": None}),
        "Made: an event has exactly one key\nFound: none\nExpected: one field that is declared by key()\nHint: "
        "declare it: id: Field[str] = key().",
    ),
    (
        lambda: event({"other": key()}, {"other": Field[str]}),
        "Made: an event has exactly one key\nFound: id, other\nExpected: one field that is declared by key()\n"
        "Hint: keep one of them, and make a plain field() of every other.",
    ),
    (
        lambda: event({}, {"id": Field[str | None]}),
        f"Made.id: a key must be text or a whole number, never null\nFound: string | None\n{KEY}",
    ),
    (
        lambda: event({}, {"id": Field[float]}),
        f"Made.id: a key must be text or a whole number, never null\nFound: float\n{KEY}",
    ),
    (
        lambda: event({"at": None}),
        "Made: an event has exactly one event time\nFound: none\nExpected: one field that is declared by "
        "event_time()\nHint: declare it: at: Field[datetime] = event_time().",
    ),
    (
        lambda: event({"then": event_time()}, {"then": Field[datetime]}),
        "Made: an event has exactly one event time\nFound: at, then\nExpected: one field that is declared by "
        "event_time()\nHint: keep one of them, and make a plain field() of every other.",
    ),
    (
        lambda: event({}, {"at": Field[datetime | None]}),
        "Made.at: the event time must be a datetime, never null\nFound: datetime | None\nExpected: "
        "Field[datetime]\nHint: at: Field[datetime] = event_time().",
    ),
    (
        lambda: event(late="1h"),
        "Made: unknown option of an event\nFound: late\nExpected: topic, lateness, alignment, ahead, partitions, "
        "replication, min_insync, retention, compact, owner, tags\nHint: see `help(samestream.schemas.Event)`.",
    ),
    (
        lambda: event(topic="shop visits"),
        "Made: an event needs a Kafka topic\nFound: 'shop visits'\nExpected: letters, digits, dots, dashes, "
        'underscores, at most 180\nHint: class Made(Event, topic="app.mades").',
    ),
    (
        lambda: event(lateness="soon"),
        f"Made.lateness: a duration was not understood\nFound: 'soon'\n{DURATION}",
    ),
    (
        lambda: event(ahead="-1h"),
        f"Made.ahead: a duration was not understood\nFound: '-1h'\n{DURATION}",
    ),
    (
        lambda: event(partitions=0),
        "Made: a topic needs partitions\nFound: 0\nExpected: 1 or more\nHint: partitions=2.",
    ),
    (
        lambda: event(replication="3"),
        "Made.replication: an option of a topic means nothing\nFound: '3'\nExpected: 1 or more\nHint: replication=2.",
    ),
    (
        lambda: event(compact=1),
        "Made.compact: an option of a topic means nothing\nFound: 1\nExpected: True or False\nHint: compact=True.",
    ),
    (
        lambda: event(owner=5),
        "Made: what is said of it means nothing\nFound: owner=5\nExpected: owner: text\nHint: such as "
        'doc="Minutes late", owner="ops", tags=("delay",), unit="min", low=-60, high=1500, pii=False.',
    ),
    (
        lambda: event({"price": field()}, {"price": None}),
        f"Made.price: a field needs a type that Avro knows\nFound: no annotation\n{TYPES}",
    ),
    (
        lambda: event({"price": field()}, {"price": Field}),
        "Made.price: a field is annotated as one\nFound: Field\nExpected: Field[...], or Nested[...] for a "
        "record\nHint: price: Field[float] = field().",
    ),
    (
        lambda: event({"price": field()}, {"price": Field[bytes]}),
        f"Made.price: a field needs a type that Avro knows\nFound: bytes\n{TYPES}",
    ),
    (
        lambda: event({"price": field()}, {"price": "Field[Prize]"}),
        "Made: a type annotation could not be read\nFound: name 'Prize' is not defined\nHint: import the name at "
        "the top of the module.",
    ),
    (
        lambda: event({"_price": field()}, {"_price": Field[float]}),
        "Made._price: a field name is ASCII and does not start with an underscore\nFound: _price\nExpected: "
        "letters a to z, digits and underscores, a letter first\nHint: Avro knows no others, and those with an "
        "underscore are kept for the log.",
    ),
    (
        lambda: event({"price": field(default="free")}, {"price": Field[float]}),
        "Made.price: the default does not fit the field\nFound: 'free' (str), which is no number\nExpected: "
        "float\nHint: a default is a value that the field could have.",
    ),
    (
        lambda: event({"price": field()}, {"price": Field[Decimal]}),
        "Made.price: a Decimal needs its digits\nFound: digits=None, scale=None\nExpected: digits= from 1 to 18, "
        "of which scale= are after the point\nHint: field(digits=12, scale=2) holds up to 9999999999.99.",
    ),
    (
        lambda: event({"price": field(precision="ns")}, {"price": Field[datetime]}),
        'Made.price: no such precision\nFound: \'ns\'\nExpected: "us" or "ms"\nHint: precision="ms".',
    ),
    (
        lambda: event({"price": None, "prices": field()}, {"prices": Field[list[list[int]]]}),
        "Made.prices: a field needs a type that Avro knows\nFound: list[int]\nExpected: str, int, float, bool, "
        "datetime, date, Decimal, UUID, a StrEnum, list[...] or dict[str, ...] of one of these, and any of them "
        "| None\nHint: prices: Field[float] = field().",
    ),
    (
        lambda: event({"price": 5}),
        "Made.price: this attribute means nothing here\nFound: 5\nExpected: a field, price: Field[float] = "
        "field()\nHint: what is for yourself begins with an underscore: _price.",
    ),
    (
        lambda: event({"price": 5}, {"price": Field[float]}),
        "Made.price: a field is annotated but not declared\nFound: 5\nExpected: field()\nHint: price: ... = field().",
    ),
    # tables
    (
        lambda: declare(Table, {"town": field()}, {"town": Field[str]}, topic="towns"),
        "Made: a table has exactly one key\nFound: none\nExpected: one field that is declared by key()\nHint: "
        "declare it: id: Field[str] = key().",
    ),
    # on-demand
    (
        lambda: declare(OnDemand, {"x": Visit.pages}, on=Shop),
        "Made: on-demand features need their request\nFound: on=Shop\nExpected: on=an Event class, and no table\n"
        "Hint: class Made(OnDemand, on=Boarding).",
    ),
    # views
    (
        lambda: declare(Features, {"n": Order.count(over="1h")}),
        f"Made: a view needs the field that names its entity\nFound: None\n{BY}",
    ),
    (
        lambda: declare(Features, {"n": Order.count(over="1h")}, key=Order.user),
        f"Made: a view needs the field that names its entity\nFound: key\n{BY}",
    ),
    (
        lambda: view(by=(Order.user, Visit.user), n=Order.count(over="1h")),
        "Made: the keys of a view belong to one event\nFound: Order.user, Visit.user\nExpected: fields of Order\n"
        "Hint: declare one view per event.",
    ),
    (
        lambda: view(),
        "Made: a view declares no feature\nFound: none\nExpected: at least one, computed from aggregates\nHint: "
        'add one, such as count_1h = Order.count(over="1h").',
    ),
    (
        lambda: view(pages=Visit.pages.mean(over="1h")),
        "Made.pages: a feature aggregates the event of its view\nFound: Visit\nExpected: Order\nHint: declare it "
        "in another view: class VisitNow(Features, by=Visit.<field>).",
    ),
    (
        lambda: view(price=Order.price),
        "Made.price: a feature is computed from aggregates\nFound: Order.price\nExpected: an aggregate over a "
        'window\nHint: say which: Order.price.mean(over="1h") or Order.price.last(over="1d").',
    ),
    (
        lambda: view(share=Order.count(over="1h") / Visit.count(over="1h")),
        "Made.share: a feature aggregates the event of its view\nFound: Visit\nExpected: Order\nHint: declare it "
        "in another view: class VisitNow(Features, by=Visit.<field>).",
    ),
    (
        lambda: Spent.of(),
        "Spent.of: the keys do not fit the view\nFound: no key\nExpected: Order.user (string)\nHint: pass one "
        "trigger field for each key of the view, in its order.",
    ),
    (
        lambda: Spent.of(Visit.shop),
        "Spent.of: the keys do not fit the view\nFound: Visit.shop (int)\nExpected: Order.user (string)\nHint: "
        "pass one trigger field for each key of the view, in its order.",
    ),
    # aggregates and windows
    (
        lambda: Order.price.mean(),
        'mean(Order.price): an aggregate needs one window\nFound: none\nExpected: over="1h", over="lifetime", '
        'every="1d" or session="30m"\nHint: write over="1h" for the last hour; only a session may have over= '
        "beside it, its greatest length.",
    ),
    (
        lambda: Order.price.mean(over="1h", session="30m", every="1d"),
        "mean(Order.price): an aggregate needs one window\nFound: over= and every= and session=\nExpected: "
        'over="1h", over="lifetime", every="1d" or session="30m"\nHint: write over="1h" for the last hour; only '
        "a session may have over= beside it, its greatest length.",
    ),
    (
        lambda: Order.price.mean(over="3 hours"),
        f"mean(Order.price): a duration was not understood\nFound: '3 hours'\n{DURATION}",
    ),
    (
        lambda: Order.price.mean(over="0s"),
        "mean(Order.price): a window is too short\nFound: '0s'\nExpected: 1ms or more\nHint: write over=\"1h\".",
    ),
    (
        lambda: Order.price.mean(over=5),
        f"mean(Order.price): a duration was not understood\nFound: 5\n{DURATION}",
    ),
    (
        lambda: Order.price.mean(over=()),
        "mean(Order.price): several windows need names of their own\nFound: ()\nExpected: different lengths, "
        'each a whole number and a unit\nHint: write over=("1h", "3h", "24h"): the features are then named '
        "..._1h, ..._3h and ..._24h.",
    ),
    (
        lambda: Order.price.mean(over="1h", tile="0s"),
        "mean(Order.price): a tile has no length\nFound: tile 0us, window 1h\nHint: leave tile= out: the default "
        "cuts the window in 60 to a few hundred tiles.",
    ),
    (
        lambda: Order.price.mean(every=("1h", "1d")),
        f"mean(Order.price): a duration was not understood\nFound: ('1h', '1d')\n{DURATION}",
    ),
    (
        lambda: Order.price.mean(session="x"),
        f"mean(Order.price): a duration was not understood\nFound: 'x'\n{DURATION}",
    ),
    (
        lambda: Order.tags.last(over="1h"),
        "Order.tags: `last` does not take maps\nFound: map\nExpected: whole numbers or floats or conditions or "
        "times or text\nHint: aggregate a part of it, such as its length().",
    ),
    (
        lambda: Order.mobile.sum(over="1h"),
        "Order.mobile: `sum` does not take conditions\nFound: bool\nExpected: whole numbers or floats\nHint: "
        "count() and last() take any kind; or aggregate a condition, such as count(where=...).",
    ),
    (
        lambda: Order.mobile.max(over="1h"),
        "Order.mobile: `max` does not take conditions\nFound: bool\nExpected: whole numbers or floats or times "
        "or text\nHint: compare numbers, times or text; of a condition take share().",
    ),
    (
        lambda: Order.number.distinct(exact=-1, over="1h"),
        "distinct: `distinct` needs a bound\nFound: -1\nExpected: a whole number from 0 to 100,000\nHint: write "
        "distinct(10).",
    ),
    (
        lambda: Order.price.quantile("0.5", over="1h"),
        "quantile(Order.price): `quantile` needs a share of the values\nFound: '0.5'\nExpected: a number from 0 "
        'to 1\nHint: write quantile(0.95, over="1h") for the value that 95 % do not exceed.',
    ),
    (
        lambda: Order.price.decayed_mean("often", over="1h"),
        f"decayed_mean(Order.price): a duration was not understood\nFound: 'often'\n{DURATION}",
    ),
    (
        lambda: view(x=(Order.price + Visit.pages).mean(over="1h")),
        "(Order.price + Visit.pages).mean(over='1h'): an aggregate is over the fields of one event\nFound: "
        "Order, Visit\nHint: aggregate each event in its own Features class and combine the features in the "
        "Model.",
    ),
    (
        lambda: view(x=Order.price.mean(over="1h", where=Visit.pages > 3)),
        "Order.price.mean(over='1h', where=(Visit.pages > 3)): an aggregate is over the fields of one event\n"
        "Found: Order, Visit\nHint: aggregate each event in its own Features class and combine the features in "
        "the Model.",
    ),
    # models
    (
        lambda: model({"on": None}, pages=Visit.pages),
        f"Made: a model needs its trigger and its trainer\nFound: on=None, trainer=gradient_boosting(...)\n{MODEL}",
    ),
    (
        lambda: model({"trainer": None}, pages=Visit.pages),
        f"Made: a model needs its trigger and its trainer\nFound: on=Visit, trainer=None\n{MODEL}",
    ),
    (
        lambda: model({"trainer": gradient_boosting}, pages=Visit.pages),
        f"Made: a model needs its trigger and its trainer\nFound: on=Visit, trainer=gradient_boosting\n{MODEL}",
    ),
    (
        lambda: model({"every": "1d"}, pages=Visit.pages),
        f"Made: a model needs its trigger and its trainer\nFound: every\n{MODEL}",
    ),
    (
        lambda: model({"on": Shop}, pages=Visit.pages),
        f"Made: a model needs its trigger and its trainer\nFound: on=Shop, trainer=gradient_boosting(...)\n{MODEL}",
    ),
    (
        lambda: model(bought=Visit.pages),
        "Made: a model has exactly one label\nFound: none\nHint: late = label(Arrival.arr_delay > 15, "
        'by=Arrival.flight_id, within="1d").',
    ),
    (
        lambda: model(pages=Visit.pages, other=BOUGHT),
        "Made: a model has exactly one label\nFound: bought, other\nHint: late = label(Arrival.arr_delay > 15, "
        'by=Arrival.flight_id, within="1d").',
    ),
    (
        lambda: model(),
        "Made: a model needs inputs\nFound: none\nExpected: at least one feature, or field of Visit\nHint: add "
        "one as an attribute: delay = CarrierNow.mean_delay_3h, or of the trigger, Visit.<field>.",
    ),
    (
        lambda: model(latest=Spent.latest),
        "Made.latest: a model's input must be a number, a condition or text\nFound: list\nHint: compare it, or "
        "take from it what matters, so that one of these comes out.",
    ),
    (
        lambda: model(latest=Latest),
        "Made.latest: no model can take any of this\nFound: Latest, of which nothing is a number, a condition or "
        "text\nExpected: a view or a table with at least one of these\nHint: take from a list or a time what "
        "matters: its length(), at(0) or hour().",
    ),
    (
        lambda: model(price=Order.price),
        "Made.price: fields of its trigger only can be read\nFound: Order.price\nExpected: a field of Visit\n"
        "Hint: aggregate the other event in a Features class, or this would be a leak from the future.",
    ),
    (
        lambda: model(price=Order.price.mean(over="1h")),
        "Made.price: an aggregate belongs in a view\nFound: Order.price.mean(over='1h')\nHint: declare it in a "
        "Features class, which says by which key.",
    ),
    (
        lambda: model(total=ByNumber.total_1d),
        "Made.total: a feature cannot be looked up from the trigger\nFound: ByNumber.total_1d is kept by "
        "Order.number (int)\nExpected: a field `number` of Visit of the same kind\nHint: name it: "
        "ByNumber.of(Visit.<field>).total_1d.",
    ),
    (
        lambda: model(total=Spent.total_1d, bought=label(Order.price > 0, by=Order.number, within="1d")),
        "Made.bought: the label is joined by another kind of key than the trigger's\nFound: Order.number (int)\n"
        "Expected: Visit.user (string)\nHint: join by the field that holds the trigger's key.",
    ),
    (
        lambda: model(town=Shop.codes),
        "Shop.codes: a list or a map of a table cannot be looked up\nFound: list\nExpected: a number, condition, "
        "time or text\nHint: keep what the model needs of it in a field of its own.",
    ),
    (
        lambda: model(entity=Visit.pages),
        "Made.entity: this name is kept for the vector itself\nFound: entity\nExpected: none of entity, event_time, "
        "fingerprint, known_time, model, row, trigger_offset, trigger_partition, trigger_topic\nHint: choose another name.",
    ),
    *(
        (
            lambda name=name: model(**{name: Visit.pages}),
            f"Made.{name}: this name is kept for the vector itself\nFound: {name}\nExpected: none of entity, event_time, "
            "fingerprint, known_time, model, row, trigger_offset, trigger_partition, trigger_topic\nHint: choose another name.",
        )
        for name in ("known_time", "model", "row")  # columns of the files that replay and training-set write
    ),
    # labels
    (
        lambda: label(Order.price > 0, by="user", within="1d"),
        "label: a label is joined by a field\nFound: by='user'\nExpected: the field of the later event that "
        "holds the trigger's key\nHint: by=Arrival.flight_id.",
    ),
    (
        lambda: label(Order.price > 0, by=Visit.user, within="1d"),
        "label(by=Visit.user): a label is computed from the event it is joined by\nFound: (Order.price > 0)\n"
        "Expected: an expression of fields of Visit\nHint: take value and by= of the later event: "
        "label(Arrival.delay > 15, by=Arrival.flight_id, within='1d').",
    ),
    (
        lambda: label(Order.price > 0, by=Order.user, within="0s"),
        "label(by=Order.user): a label needs a horizon\nFound: within='0s'\nExpected: how long after the trigger "
        'it may come\nHint: within="1d".',
    ),
    (
        lambda: label(Order.price > 0, by=Order.user, within="later"),
        f"label(by=Order.user): a duration was not understood\nFound: 'later'\n{DURATION}",
    ),
    (
        lambda: label(True, by=Order.user, within="1d"),
        "label(by=Order.user): a label is computed from the event it is joined by\nFound: True\nExpected: an "
        "expression of fields of Order\nHint: take value and by= of the later event: label(Arrival.delay > 15, "
        "by=Arrival.flight_id, within='1d').",
    ),
    # trainers
    (
        lambda: gradient_boosting(every="often", history="30d"),
        f"gradient_boosting(every=...): a duration was not understood\nFound: 'often'\n{DURATION}",
    ),
    (
        lambda: linear(every="1d", history="-30d"),
        f"linear(history=...): a duration was not understood\nFound: '-30d'\n{DURATION}",
    ),
    (
        lambda: gradient_boosting(every="1d", history="30d", max_itr=3),
        "gradient_boosting: unknown parameter of a trainer\nFound: max_itr\nExpected: every, history, max_iter, "
        "learning_rate, max_leaf_nodes, min_samples_leaf, l2_regularization\nHint: check the spelling.",
    ),
    (
        lambda: linear(every="1d", history="30d", max_depth=3, max_iter=100),
        "linear: unknown parameter of a trainer\nFound: max_depth\nExpected: every, history, regularization, "
        "max_iter\nHint: check the spelling.",
    ),
    # monitors
    (
        lambda: declare(Monitors, {"features": parity()}),
        f"Made: monitors need the model they watch\nFound: of=None\n{WATCHED}",
    ),
    (
        lambda: monitors({"of": Visit}, features=parity()),
        f"Made: monitors need the model they watch\nFound: of=Visit\n{WATCHED}",
    ),
    (
        lambda: monitors({"alarms": "often"}, features=parity()),
        "Made, alarms: the alarm budget was not understood\nFound: 'often'\nExpected: a number above zero and "
        'hour, day, week or month\nHint: alarms="1/week"; a budget of zero could never raise an alarm.',
    ),
    (
        lambda: monitors(),
        "Made: nothing is monitored\nFound: none\nExpected: an attribute named features or scores\nHint: say "
        'what to watch: features = parity(), drift(window="1d").',
    ),
    (
        lambda: monitors(labels=parity()),
        "Made.labels: only features and scores are monitored\nFound: Parity(sample=1.0)\nExpected: an attribute named "
        'features or scores\nHint: scores = drift(window="1d").',
    ),
    (
        lambda: monitors(scores=parity()),
        "Made.scores: this is not a check that can be made here\nFound: Parity(sample=1.0)\n"
        "Expected: drift(), performance(), calibration()\nHint: write "
        "the calls, separated by commas.",
    ),
    (
        lambda: monitors(features=(drift(window="1d"), drift(window="2d"))),
        "Made.features: drift() is declared twice\nFound: (Drift(window='1d'), Drift(window='2d'))\nExpected: "
        "each check at most once\nHint: keep the one you mean.",
    ),
    (
        lambda: monitors(features=drift(window="0s")),
        "Made.features: the length in drift(window=...) must be above zero\nFound: Drift(window='0s')\nExpected: "
        'more than 0\nHint: write for example "2h".',
    ),
    (
        lambda: monitors(scores=performance(detectors=("change", "ddm"))),
        "Made.scores: ddm takes errors of 0 and 1\nFound: Performance(window='1d', detectors=('change', 'ddm')) of a "
        'model that predicts a probability\nExpected: a model of a class\nHint: performance(detectors=("change", '
        '"adwin")) takes errors of any size.',
    ),
    (
        lambda: monitors(scores=calibration(), options={"of": Pays}),
        "Made.scores: only chances can be calibrated\nFound: Calibration(window='1d') of a model that predicts a number\n"
        "Expected: a model of a condition or of a class\nHint: performance() tells error and bias of a number.",
    ),
    # apps
    (
        lambda: apps.app_of([monitors(features=parity()), Again], name="shop"),
        "Buys: one model is watched twice\nFound: Made and Again\nHint: put all checks of a model into one class: they "
        "share its alarm budget.",
    ),
    (
        lambda: apps.app_of([Visit, Order]),
        "Visit, Order: these classes do not say which app they belong to\nFound: no name\nExpected: the name of "
        'the app, beside its classes\nHint: name it (name="flights"), or pass the module that declares them.',
    ),
    (
        lambda: apps.app_of([Visit, event(topic="shop.visits")], name="shop"),
        "shop.visits: two events share one topic\nFound: Visit and Made\nHint: give each event its own topic.",
    ),
    (
        lambda: apps.app_of([event(), event()], name="shop"),
        f"Made: two classes have one name\nFound: one in {__name__}, another in {__name__}\nHint: rename one of "
        "them: names stand for classes in schemas and topics.",
    ),
    (
        lambda: load("visits = 1\norders = = 1\n"),
        "wrong.py line 2: this is not valid Python\nFound: SyntaxError: invalid syntax\nHint: correct the line.",
    ),
    (
        lambda: load("from samestream.schemas import Event\n"),
        "wrong.py: the module declares no model\nFound: no events\nExpected: at least one class that derives "
        'from Model\nHint: add it: class LateArrival(Model, on=Boarding, trainer=gradient_boosting(every="1d", '
        'history="30d")).',
    ),
    (
        lambda: apps.app_of([]),
        "no class: these classes do not say which app they belong to\nFound: no name\nExpected: the name of the "
        'app, beside its classes\nHint: name it (name="flights"), or pass the module that declares them.',
    ),
    (
        lambda: load("class Visit(Event):\n    pass\n"),
        "wrong.py line 1: a name means nothing here\nFound: NameError: name 'Event' is not defined\nHint: check "
        "the spelling, or import it.",
    ),
    (
        lambda: apps.load("shop/wrong.py"),
        "shop/wrong.py: no such file\nFound: no file of this name in FOLDER/shop\nExpected: the Python file that "
        "declares your app\nHint: give its path from where you are, or an importable module (shop.models).",
    ),
    (
        lambda: apps.load("no_such.shop"),
        "no_such.shop: no such module\nFound: No module named 'no_such'\nHint: give a file (examples/flights.py) "
        "or an importable module.",
    ),
]


@pytest.mark.parametrize(("declare", "message"), REFUSED)
def test_it_is_refused_with_the_whole_message(
    declare: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(DeclarationError) as told:
        declare()
    assert str(told.value).replace(f"{tmp_path}", "FOLDER") == message


def test_every_message_says_what_was_found_and_what_to_do() -> None:
    for _, message in REFUSED:
        what, *rest = message.split("\n")
        assert ": " in what
        assert rest[0].startswith("Found: ")
        assert rest[-1].startswith("Hint: ")


WHOLE = {
    "test_aggregates.py": "test_a_wrong_aggregate_says_what_is_wrong",
    "test_class_bodies.py": "test_it_is_refused",
    "test_expressions.py": "test_a_wrong_expression_fails_with_the_whole_message",
    "test_odd_values.py": "test_it_is_refused",
    "test_tables.py": "test_refused",
    "test_windows.py": "test_a_wrong_window_says_what_is_wrong",
}
"""The tests of this folder that hold wrong declarations against their whole messages, each a table."""


def test_there_are_many_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"test_refused.py": len(REFUSED)}
    for file, test in WHOLE.items():
        spec = importlib.util.spec_from_file_location(f"counted_{Path(file).stem}", Path(__file__).with_name(file))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # where its classes find what they are annotated with
        spec.loader.exec_module(module)
        found[file] = len(getattr(module, test).pytestmark[0].args[1])
    assert found["test_refused.py"] >= 40
    assert found["test_expressions.py"] >= 42
    assert sum(found.values()) >= 150, found
