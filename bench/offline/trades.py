"""The events that the replay benchmark serves, logs and replays: every one a trigger of its own features."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path

import numpy as np

from samestream.schemas import Event, Features, Field, Model, avro, event_time, field, key, label
from samestream.schemas.app import App
from samestream.schemas.avro_schemas import event_schema
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.processor import Processor
from samestream.streams.log import rewriting
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_writer import LogWriter
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.plan import Plan
from samestream.streams.transport import Outgoing
from samestream.trainers import gradient_boosting

START_US, CHUNK = 1_767_225_600_000_000, 20_000  # from 2026-01-01
STEP_US = 172_000  # half a million events a day


class Trade(Event, topic="bench.trades", lateness="10s", partitions=4):
    """An event of six fields and about 60 bytes."""

    account: Field[str] = key()
    venue: Field[str] = field()
    price: Field[float] = field()
    quantity: Field[int] = field()
    is_buy: Field[bool] = field()
    at: Field[datetime] = event_time()


class AccountNow(Features, by=Trade.account):
    """One mean over windows of 60, 180 and 288 tiles."""

    mean_1h = Trade.price.mean(over="1h", tile="1m")
    mean_3h = Trade.price.mean(over="3h", tile="1m")
    mean_1d = Trade.price.mean(over="1d", tile="5m")


class All(Model, on=Trade, trainer=gradient_boosting(every="1d", history="7d")):
    """All three windows in one vector."""

    mean_1h = AccountNow.mean_1h
    mean_3h = AccountNow.mean_3h
    mean_1d = AccountNow.mean_1d
    again = label(Trade.price > 50, by=Trade.account, within="5m")


class Tiles60(Model, on=Trade, trainer=gradient_boosting(every="1d", history="7d")):
    """The window of 60 tiles alone."""

    mean_1h = AccountNow.mean_1h
    again = label(Trade.price > 50, by=Trade.account, within="5m")


class Tiles180(Model, on=Trade, trainer=gradient_boosting(every="1d", history="7d")):
    """The window of 180 tiles alone."""

    mean_3h = AccountNow.mean_3h
    again = label(Trade.price > 50, by=Trade.account, within="5m")


class Tiles288(Model, on=Trade, trainer=gradient_boosting(every="1d", history="7d")):
    """The window of 288 tiles alone."""

    mean_1d = AccountNow.mean_1d
    again = label(Trade.price > 50, by=Trade.account, within="5m")


MODELS = {"60": Tiles60, "180": Tiles180, "288": Tiles288, "60+180+288": All}


def app_of(windows: str) -> App:
    """The app that serves one of `MODELS`, under the same name and journal."""
    model = MODELS[windows]
    return App("bench", {"Trade": Trade}, {"AccountNow": AccountNow}, {model.__name__: model}, {})


def serve(folder: Path, keys: int, events: int) -> tuple[Plan, MemoryTransport, FeatureLog]:
    """Serve events by the real engine, and log them and their vectors; the log is compacted, as each night."""
    app = app_of("60+180+288")
    plan, transport, log = compile_app(app), MemoryTransport(MemoryBroker()), FeatureLog(folder)
    provision.provision(transport, app, plan)
    codec, rng, writer = avro.Codec(event_schema(Trade)), np.random.default_rng(1), transport.writer()
    for first in range(0, events, CHUNK):
        accounts, prices = rng.integers(0, keys, CHUNK).tolist(), rng.uniform(0, 100, CHUNK).tolist()
        records = []
        for row, (account, price) in enumerate(zip(accounts, prices, strict=True)):
            at_us = START_US + (first + row) * STEP_US
            value = {"account": f"account-{account:06}", "venue": "XNAS", "price": price, "quantity": row}
            value |= {"is_buy": row % 2 == 0, "at": at_us}
            records.append(Outgoing(Trade.topic, value["account"].encode(), codec.encode(value), at_us))
        writer.send(records)
    writer.close()
    store = provision.store(transport, plan)
    worker = Processor(transport, plan.app, plan.journal, FeatureTask(plan), store)
    _run(worker, lambda: worker.health.events == events)
    copier = LogWriter(transport, plan, log, store)
    topics = (Trade.topic, plan.models["All"].topics["features"])
    _run(copier, lambda: all(sum(log.offsets(topic).values()) >= events for topic in topics))
    rewriting.compact(log, Trade.topic)
    return plan, transport, log


def _run(worker: Processor | LogWriter, done: object) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    while thread.is_alive() and not done():
        thread.join(0.2)
    stop.set()
    thread.join()
