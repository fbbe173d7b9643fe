"""An event with a field of every type, from the producer to the log: served vectors equal those of SQL and of the replay."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import harness
import pytest
from typed_order import Address, Colour, Order, Place

from samestream.monitors import Monitors, drift, parity, quality
from samestream.monitors.task import MonitorTask
from samestream.monitors.vector_parity import verify
from samestream.schemas import Features, Model, label
from samestream.schemas.app import app_of
from samestream.streams import Producer
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.trainers import gradient_boosting

START = datetime(2024, 2, 28, tzinfo=UTC)
COUNT = 400


class ColourNow(Features, by=Order.colour, owner="colours", tags="sales"):
    spent_1d = Order.price.sum(over="1d").described(unit="USD", low=0)
    cents_1d = Order.price.minor_units().sum(over="1d")
    tip_1h = Order.tip.max(over="1h")
    lat_1h = Order.address.place.lat.mean(over="1h")
    bills_1h = Order.bill.city.count(over="1h")
    blue_1d = Order.count.sum(over="1d", where=Order.colour == "blue")


class CityNow(Features, by=Order.address.city):
    orders_1h = Order.count.count(over="1h")


class Returned(Model, on=Order, trainer=gradient_boosting(every="1d", history="30d"), owner="returns"):
    """Will it come back?"""

    spent = ColourNow.spent_1d
    cents = ColourNow.cents_1d
    tip = ColourNow.tip_1h
    lat = ColourNow.lat_1h
    bills = ColourNow.bills_1h
    blue = ColourNow.blue_1d
    in_city = CityNow.of(Order.address.city).orders_1h
    tags = Order.tags.length()
    fresh = Order.at - Order.seen
    is_red = Order.colour == "red"
    late = label(Order.ratio > 0.5, by=Order.id, within="1h")


class ReturnedHealth(Monitors, of=Returned, alarms="1/week"):
    features = parity(), drift(window="1d"), quality()
    scores = drift(window="1d")


def orders() -> list[tuple[Order, datetime]]:
    draw, found = random.Random(5), []
    for number in range(COUNT):
        at = START + timedelta(minutes=7 * number, microseconds=draw.randrange(10**6))
        address = Address(city=draw.choice(["Oslo", "Ürümqi"]), place=Place(lat=draw.uniform(-90, 90)))
        one = Order(
            id=UUID(int=number),
            price=Decimal(draw.randrange(10**7)).scaleb(-2),
            tip=draw.choice([None, Decimal(draw.randrange(1000))]),
            day=at.date(),
            colour=draw.choice(list(Colour)),
            seen=draw.choice([None, at - timedelta(minutes=draw.randrange(100))]),
            tags=draw.choice([[], ["a"], ["a", "b", ""]]),
            paid=[None, Decimal("0.125")],
            times={"now": at},
            address=address,
            bill=draw.choice([None, address]),
            count=draw.randrange(100),
            ratio=draw.random(),
            at=at,
        )
        found.append((one, at + timedelta(seconds=1)))
    return found


@pytest.mark.filterwarnings("error")
def test_every_type_from_the_producer_to_parity(tmp_path: Path) -> None:
    app = app_of([Returned, ColourNow, CityNow, Order, ReturnedHealth], "typed")
    plan = compile_app(app)
    transport = MemoryTransport(MemoryBroker())
    provision.provision(transport, app, plan)
    with Producer(app, transport=transport) as producer:
        for one, known in orders():
            producer.produce(one, known=known)
    harness.work_off(transport, FeatureTask(plan), plan)
    log = harness.write_log(transport, FeatureLog(str(tmp_path)), plan)
    raw = log.read("shop.orders")
    assert raw.num_rows == COUNT
    assert raw["address.place.lat"].null_count == 0
    assert raw["paid"][0].as_py() == [None, 0.125]
    found = verify(plan, transport, log)["Returned"]
    assert (found.compared, found.mismatched) == (COUNT, 0)
    assert (found.as_known_compared, found.as_known_mismatched) == (COUNT, 0)
    served = log.read("typed.features.Returned")
    assert served["cents"].to_pylist()[-1] > 0
    assert set(served["tags"].to_pylist()) == {0, 1, 3}
    (watched,) = app.monitors.values()
    watch = MonitorTask(plan, watched)
    harness.work_off(transport, watch, plan)
    described = {part["name"]: part for part in plan.models["Returned"].vector_schema["fields"]}
    assert (described["spent"]["unit"], described["spent"]["owner"], described["spent"]["tags"]) == (
        "USD",
        "colours",
        ["sales"],
    )
    assert plan.models["Returned"].vector_schema["owner"] == "returns"
