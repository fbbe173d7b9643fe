"""Reference tables, entity chains and on-demand features: what can be declared, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from samestream.schemas import Event, Features, Field, Model, OnDemand, Table, event_time, field, key, label
from samestream.schemas.errors import DeclarationError
from samestream.schemas.features import FeatureRef
from samestream.schemas.models import lookup_keys
from samestream.schemas.references import lookups_of
from samestream.schemas.tables import AsOf
from samestream.trainers import gradient_boosting


class Plane(Table, topic="t.planes"):
    tailnum: Field[str] = key()
    year: Field[int | None] = field()
    maker: Field[str] = field()


class Maker(Table, topic="t.makers"):
    name: Field[str] = key()
    country: Field[str] = field()


class Boarding(Event, topic="t.boarding"):
    flight: Field[str] = key()
    tailnum: Field[str | None] = field()
    gate: Field[int] = field()
    at: Field[datetime] = event_time()


class Departure(Event, topic="t.departures"):
    flight: Field[str] = key()
    tailnum: Field[str | None] = field()
    delay: Field[float] = field()
    at: Field[datetime] = event_time()


class MakerNow(Features, by=Plane.of(Departure.tailnum).maker):
    mean_delay_6h = Departure.delay.mean(over="6h")
    old_share_1d = Departure.count(over="1d", where=Plane.of(Departure.tailnum).year < 1990) / Departure.count(
        over="1d"
    )


class Request(OnDemand, on=Boarding, owner="ops", tags="planes"):
    from_2000 = (Plane.year - 2000).described(unit="y")
    excess = MakerNow.mean_delay_6h - 5


class Late(Model, on=Boarding, trainer=gradient_boosting(every="1d", history="30d")):
    year = Plane.year
    excess = Request.excess.fill(0)
    made_here = Maker.of(Plane.of(Boarding.tailnum).maker).country == "US"
    late = label(Departure.delay > 15, by=Departure.flight, within="1d")


def test_a_table_is_looked_up_by_the_trigger_s_field_of_the_keys_name() -> None:
    found = Late.inputs["year"]
    assert isinstance(found, AsOf)
    assert found.by is Boarding.tailnum
    assert found.meaning() == Plane.of(Boarding.tailnum).year.meaning()  # type: ignore[attr-defined]
    assert repr(found) == "Plane.of(Boarding.tailnum).year"


def test_an_on_demand_feature_stands_for_its_expression() -> None:
    assert Late.inputs["excess"].meaning() == (MakerNow.mean_delay_6h - 5).fill(0).meaning()


def test_what_is_said_of_an_on_demand_feature_reaches_the_model() -> None:
    class Dated(Model, on=Boarding, trainer=gradient_boosting(every="1d", history="30d")):
        year = Request.from_2000
        late = label(Departure.delay > 15, by=Departure.flight, within="1d")

    about = Dated.inputs["year"].about
    assert (about.owner, about.tags, about.unit) == ("ops", ("planes",), "y")


def test_a_chain_is_looked_up_by_the_trigger_s_own_chain() -> None:
    (leaf,) = (part for part in Late.inputs["excess"].leaves() if isinstance(part, FeatureRef))
    (by,) = lookup_keys(Late, leaf)
    assert repr(by) == "Plane.of(Boarding.tailnum).maker"


def test_lookups_come_after_those_they_need() -> None:
    names = [found.name for found in lookups_of([Late], [MakerNow])]
    assert names.index("Plane(tailnum).maker") < names.index("Maker(Plane(tailnum).maker).country")
    assert {"Plane(tailnum).year", "Plane(tailnum).maker"} <= set(names)


def wrong_key() -> object:
    return Plane.of(Boarding.gate)


def unbound_key() -> object:
    return Plane.of(Maker.name)


def no_such_field() -> object:
    return type("M", (OnDemand,), {"country": Maker.country}, on=Boarding)


def other_request() -> object:
    return type("M", (OnDemand,), {"excess": Request.excess}, on=Departure)


def aggregate_on_demand() -> object:
    return type("M", (OnDemand,), {"mean": Departure.delay.mean(over="1h")}, on=Boarding)


def other_event() -> object:
    return type("M", (OnDemand,), {"delay": Departure.delay}, on=Boarding)


def no_request() -> object:
    return type("M", (OnDemand,), {"delay": Departure.delay})


def nothing_on_demand() -> object:
    return type("M", (OnDemand,), {}, on=Boarding)


def unbound_view() -> object:
    return type("V", (Features,), {"n": Plane.count(over="1h")}, by=Plane.maker)


def model_on_a_table() -> object:
    return type("M", (Model,), {"year": Plane.year}, on=Plane, trainer=gradient_boosting(every="1d", history="30d"))


def label_of_a_table() -> object:
    return label(Plane.year > 2000, by=Plane.tailnum, within="1d")  # type: ignore[operator]


REFUSED: dict[Callable[[], object], str] = {
    wrong_key: """Plane.of: the key does not fit the table
Found: Boarding.gate (int)
Expected: a field of an event, of the kind of Plane.tailnum (string)
Hint: Plane.of(Boarding.tailnum).<field>.""",
    unbound_key: """Plane.of: the key does not fit the table
Found: Maker.name (string)
Expected: a field of an event, of the kind of Plane.tailnum (string)
Hint: Plane.of(Boarding.tailnum).<field>.""",
    no_such_field: """M.country: a table cannot be looked up from the event
Found: Maker.country is kept by Maker.name (string)
Expected: a field `name` of Boarding of the same kind
Hint: name it: Maker.of(Boarding.<field>).country.""",
    other_request: """M.excess: an on-demand feature is of another request
Found: Request.excess, which needs Boarding
Expected: features of Departure
Hint: declare it for Departure too: class Request(OnDemand, on=Departure).""",
    aggregate_on_demand: """M.mean: an aggregate belongs in a view
Found: Departure.delay.mean(over='1h')
Hint: declare it in a Features class, which says by which key.""",
    other_event: """M.delay: fields of its trigger only can be read
Found: Departure.delay
Expected: a field of Boarding
Hint: aggregate the other event in a Features class, or this would be a leak from the future.""",
    no_request: """M: on-demand features need their request
Found: on=None
Expected: on=an Event class, and no table
Hint: class M(OnDemand, on=Boarding).""",
    nothing_on_demand: """M: on-demand features are declared without any
Hint: add one, such as hour = Boarding.at.hour().""",
    label_of_a_table: """label(by=Plane.tailnum): a label is what an event says
Found: Plane, a reference table
Hint: a table's records have no instant of their own: declare the event that changes it.""",
    unbound_view: """V: a view needs the field that names its entity
Found: Plane.maker
Expected: by=Event.field, or by=(Event.field, Event.other)
Hint: class V(Features, by=Departure.carrier); a table's field by Plane.of(Departure.tailnum).maker.""",
}


@pytest.mark.parametrize("declare", REFUSED, ids=lambda declare: declare.__name__)
def test_refused(declare: Callable[[], object]) -> None:
    with pytest.raises(DeclarationError) as refused:
        declare()
    assert str(refused.value) == REFUSED[declare]


def test_a_model_is_scored_at_events() -> None:
    with pytest.raises(DeclarationError, match="a model needs its trigger and its trainer"):
        model_on_a_table()


def test_a_model_takes_whole_views_tables_requests_and_several_windows() -> None:
    class Delays(Features, by=Departure.tailnum):
        mean = Departure.delay.mean(over=("1h", "1d"))
        latest = Departure.delay.last_n(3, over="1d")  # a list: no model can take it

    class Whole(Model, on=Boarding, trainer=gradient_boosting(every="1d", history="30d")):
        delay = Delays.mean
        all = Delays
        plane = Plane
        other = Plane.of(Boarding.tailnum)
        now = Request
        late = label(Departure.delay > 15, by=Departure.flight, within="1d")

    assert list(Whole.inputs) == [
        *("delay_1h", "delay_1d", "all_mean_1h", "all_mean_1d", "plane_year", "plane_maker"),
        *("other_year", "other_maker", "now_from_2000", "now_excess"),
    ]
    assert Whole.inputs["plane_year"].meaning() == Whole.inputs["other_year"].meaning()
