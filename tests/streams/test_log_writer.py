"""The log role: it tidies up after itself, keeps a sample of keys wholly, and gives added fields their default."""

from __future__ import annotations

import threading
from pathlib import Path

import harness
import pytest

from samestream.schemas.app import App, load
from samestream.schemas.avro import Codec
from samestream.schemas.errors import SettingsError
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import FeatureTask, VectorEncoder
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.key_sample import checked, in_sample
from samestream.streams.log.log_files import offsets_of
from samestream.streams.log.log_writer import LogWriter
from samestream.streams.log.logged_columns import defaults_of
from samestream.streams.log.vector_replay import replayed
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.plan import Plan
from samestream.streams.transport import Outgoing


def served(count: int = 400) -> MemoryTransport:
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(count))
    harness.work_off(transport, FeatureTask(harness.PLAN))
    return transport


def write(transport: MemoryTransport, log: FeatureLog, plan: Plan = harness.PLAN, **options: float) -> LogWriter:
    """Let a writer catch up, in batches as small as its options say."""
    writer, stop = LogWriter(transport, plan, log, provision.store(transport, plan), **options), threading.Event()  # type: ignore[arg-type]
    ends = {
        (part.partition.topic, part.partition.partition): int(part.offsets[-1]) + 1
        for topic in writer._topics
        for part in transport.read_all(topic)
    }
    thread = threading.Thread(target=writer.run, args=(stop,))
    thread.start()
    while thread.is_alive() and not all(
        log.offsets(topic).get(number, 0) >= end for (topic, number), end in ends.items()
    ):
        thread.join(0.02)
    stop.set()
    thread.join()
    assert writer.health.state == "stopped"
    return writer


def rows(log: FeatureLog, topic: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = log.read(topic).to_pylist()
    return found


def test_many_batches_become_few_files_while_it_writes(tmp_path: Path) -> None:
    transport = served()
    few = FeatureLog(tmp_path / "few")
    write(transport, few)
    tidy = FeatureLog(tmp_path / "tidy")
    writer = LogWriter(transport, harness.PLAN, tidy, provision.store(transport, harness.PLAN), compact_batches=5)
    whole = few.read("shop.views")
    log = writer._logs["shop.views"]
    for first in range(0, len(whole), 10):
        part = whole.slice(first, 10)
        at, ends = log.next_offsets(), offsets_of(part)
        ranges = {number: (at.get(number, 0), end) for number, (_, end) in ends.items()}
        log.append(part, ranges)
        writer._compact("shop.views")
    assert rows(tidy, "shop.views") == rows(few, "shop.views")
    assert len(tidy.batches("shop.views")) <= 5
    assert len(tidy.files("shop.views")) < len(whole) / 30


def test_one_that_stood_by_goes_on_where_the_other_has_come(tmp_path: Path) -> None:
    transport, log = served(), FeatureLog(tmp_path)
    waiting = LogWriter(transport, harness.PLAN, FeatureLog(tmp_path), provision.store(transport, harness.PLAN))
    write(transport, log)
    harness.send(transport, harness.shop_events(50))
    stop = threading.Event()

    def covered() -> int:
        return sum(end - start for start, end in log.ranges("shop.views").values())

    before = covered()
    thread = threading.Thread(target=waiting.run, args=(stop,))
    thread.start()
    while thread.is_alive() and covered() == before:
        thread.join(0.02)
    stop.set()
    thread.join()
    assert waiting.health.state == "stopped"
    assert covered() > before


def test_a_sample_has_each_key_wholly_or_not_at_all(tmp_path: Path) -> None:
    transport = served()
    whole, part = FeatureLog(tmp_path / "whole"), FeatureLog(tmp_path / "part")
    write(transport, whole)
    write(transport, part, sample=0.5)
    topic = "shop.features.Buys"
    keys = {row["_key"] for row in rows(whole, topic)}
    chosen = {row["_key"] for row in rows(part, topic)}
    assert set() < chosen < keys
    assert rows(part, topic) == [row for row in rows(whole, topic) if row["_key"] in chosen]
    assert (part.sample(topic), part.sample("shop.views")) == (0.5, 1.0)
    assert rows(part, "shop.views") == rows(whole, "shop.views")
    assert part.offsets(topic) == whole.offsets(topic)
    assert part.ranges(topic) == whole.ranges(topic)


def test_samples_are_of_the_size_asked_for_and_nested() -> None:
    keys = [b"customer-%d" % number for number in range(100_000)]
    tenth, fifth = in_sample(keys, 0.1), in_sample(keys, 0.2)
    assert abs(tenth.sum() - 10_000) < 400  # four standard deviations
    assert abs(fifth.sum() - 20_000) < 520
    assert not (tenth & ~fifth).any()
    assert in_sample([b"a", b"a", None, b"", None], 1.0).all()
    assert len(set(in_sample([None, b"", None], 0.5).tolist())) == 1
    for wrong in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(SettingsError, match="a sample is a share of all keys"):
            checked(wrong, "--sample")


SHOP = Path(harness.__file__).with_name("shop.py").read_text()
ADDED = '    weight: Field[float] = field(default=2.5)\n    shelf: Field[str] = field(default="top")\n'
FIELD = "    seconds: Field[float | None] = field("


def evolved(tmp_path: Path, name: str, added: str) -> tuple[App, Plan]:
    assert FIELD in SHOP
    path = tmp_path / name / "shop.py"
    path.parent.mkdir()
    path.write_text(SHOP.replace(FIELD, f"{added}{FIELD}").replace("from datetime import", "from datetime import"))
    app = load(str(path))
    return app, compile_app(app)


def test_a_field_that_is_added_has_its_default_in_older_rows_as_it_had_online(tmp_path: Path) -> None:
    """The processor reads old events by the new schema, with its default; so must a replay from the log."""
    before_app, before = evolved(tmp_path, "before", "")
    after_app, after = evolved(
        tmp_path,
        "after",
        '    weight: Field[float] = field(default=2.5)\n    shelf: Field[str] = field(default="top")\n',
    )
    path = tmp_path / "after" / "shop.py"
    path.write_text(path.read_text().replace('View.seconds.mean(over="1h")', 'View.weight.sum(over="1h")'))
    after_app = load(str(path))
    after = compile_app(after_app)
    assert defaults_of(after.events["View"]) == {"weight": 2.5, "shelf": "top"}

    transport = harness.fresh(before_app, before)
    log = FeatureLog(tmp_path / "log")
    harness.send(transport, harness.shop_events(200))
    write(transport, log, before)  # logged before anyone knew of the field
    provision.provision(transport, after_app, after)
    more = [event for event in harness.shop_events(400, seed=2)[200:] if event.topic != "shop.views"]
    codec = Codec(after.events["View"].schema)
    last_us = harness.START_US + 401 * 7 * harness.SECOND_US
    views = [
        Outgoing(
            "shop.views",
            b"u1",
            codec.encode(
                {"user": "u1", "product": "p1", "seconds": 1.0, "at": last_us + n, "weight": float(n), "shelf": "low"}
            ),
            last_us + n,
        )
        for n in range(30)
    ]
    harness.send(transport, [*more, *views])
    harness.work_off(transport, FeatureTask(after), after, batch_records=50)

    encoder = VectorEncoder(after)

    def again() -> list[bytes | None]:
        return [
            record.value
            for _, _, every in replayed(after, transport, log)
            for vectors in every
            for record in encoder.records(vectors)
        ]

    write(transport, log, after)
    table = log.read("shop.views")
    assert set(table["weight"].to_pylist()[: table.num_rows - 40]) >= {2.5}
    assert table["weight"].to_pylist().count(2.5) >= 100
    assert "low" in table["shelf"].to_pylist()
    topic = after.models["Buys"].topics["features"]
    assert again() == [value for _, _, value, _ in harness.contents(transport, [topic])[topic]]
