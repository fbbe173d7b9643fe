"""The profiles topic: the same profiles whoever writes them, however often, from wherever they begin."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pytest
from harness import PLAN, SHOP
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.monitors import Monitors, drift, profile_writer, profiles
from samestream.monitors.profile_writer import ProfileWriter, subjects
from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.models import profile_topic
from samestream.streams.models.category_profile import CategoryProfile
from samestream.streams.models.profile import NumericProfile
from samestream.streams.models.profile_topic import AGES, LENGTHS, Piece, ProfileBook, profile_column
from samestream.streams.transport import Partition

MODEL = PLAN.models["Buys"]
HOUR_US = 3_600_000_000
MONITORS = list(SHOP.monitors.values())


def served(count: int = 400) -> MemoryTransport:
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(count))
    harness.work_off(transport, FeatureTask(PLAN), batch_records=50)
    return transport


def run(transport: MemoryTransport, monitors: list[type[Any]] = MONITORS) -> ProfileWriter:
    writer = ProfileWriter(transport, PLAN, monitors, flush_s=0.05)
    wanted = 0
    for topic in writer._subjects:
        begun = transport._broker.groups.get(f"shop.profiles.{topic}", {})
        for part in transport.read_all(topic):
            wanted += int((part.offsets >= begun.get(part.partition, 0)).sum())
    harness.run_until(writer, lambda: writer.health.events >= wanted)  # type: ignore[arg-type]
    return writer


def book(transport: MemoryTransport) -> ProfileBook:
    return ProfileBook.read(transport.read_all(PLAN.profiles))


def told(found: ProfileBook) -> dict[Any, Any]:
    return {
        (*subject, window): profile.to_json()
        for subject in found.subjects()
        for window, profile in found.windows(*subject)
    }


def vectors(transport: MemoryTransport) -> list[dict[str, Any]]:
    from samestream.schemas.avro import Codec

    codec = Codec(MODEL.vector_schema)
    topic = MODEL.topics["features"]
    return [codec.decode(value) for part in transport.read_all(topic) for value in part.values if value]


def test_features_scores_and_sources_are_profiled_by_hours_of_event_time() -> None:
    transport = served()
    run(transport)
    found, rows = book(transport), vectors(transport)
    mark = MODEL.fingerprint
    assert ("Buys.seconds", "", mark) in found.subjects()
    assert ("View.seconds", "", "") in found.subjects()
    windows = dict(found.windows("Buys.seconds", "", mark))
    assert sum(profile.n for profile in windows.values()) == len(rows)
    for (start_us, end_us), profile in windows.items():
        assert end_us - start_us == HOUR_US
        mine = [row["seconds"] for row in rows if start_us <= row["event_time"] < end_us]
        assert (profile.n, profile.nulls) == (len(mine), mine.count(None))
        assert isinstance(profile, NumericProfile)
        assert profile.sum == pytest.approx(sum(value for value in mine if value is not None))
    views = sum(len(part) for part in transport.read_all("shop.views"))
    source = found.over("View.seconds")
    assert source is not None
    assert source.n == views  # late ones too: they are of the window that they happened in
    products = found.over("View.product")
    assert isinstance(products, CategoryProfile)
    assert set(products.counts) == {"p0", "p1", "p2"}


def test_two_runs_from_nothing_and_one_from_the_middle_give_one_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_writer, "CHUNK", 64)
    monkeypatch.setattr(profile_topic, "CHUNK", 64)
    transport = served()
    run(transport)
    once = told(book(transport))
    transport._broker.groups.clear()  # as if nothing had been committed
    run(transport)
    for topic in subjects(PLAN, MONITORS):
        for number in range(transport.topics()[topic]):
            part = Partition(topic, number)
            if transport.ends([part])[part].stable > 64:
                transport._broker.groups.setdefault(f"shop.profiles.{topic}", {})[part] = 64
    run(transport)
    assert told(book(transport)) == once


def test_what_comes_later_updates_the_window_it_is_of() -> None:
    transport = harness.fresh()
    events = harness.shop_events(400)
    harness.send(transport, events[:200])
    harness.work_off(transport, FeatureTask(PLAN))
    run(transport)
    before = dict(book(transport).windows("View.seconds"))
    harness.send(transport, events[200:])
    harness.work_off(transport, FeatureTask(PLAN))
    run(transport)
    after = dict(book(transport).windows("View.seconds"))
    grown = [window for window, profile in before.items() if after[window].n > profile.n]
    assert grown, "some of the later events happened in the windows before"
    assert set(before) <= set(after)


def test_segments_have_profiles_of_their_own() -> None:
    class Segmented(Monitors, of=SHOP.models["Buys"], alarms="1/week"):
        features = profiles(window="1h", by="views")

    transport = served()
    run(transport, [Segmented])
    found, mark = book(transport), MODEL.fingerprint
    every = found.over("Buys.seconds", "", mark)
    parts = [found.over(*one) for one in found.subjects() if one[0] == "Buys.seconds" and one[1]]
    assert every is not None
    assert sum(part.n for part in parts if part is not None) == every.n
    assert len(parts) > 3


def test_segments_are_inputs_of_the_model() -> None:
    with pytest.raises(DeclarationError, match="segments are made by the inputs of the model"):

        class Wrong(Monitors, of=SHOP.models["Buys"], alarms="1/week"):
            features = profiles(window="1h", by="colour"), drift(window="1h")


def test_without_drift_and_profiles_there_is_nothing_to_write() -> None:
    from samestream.monitors import parity

    class Only(Monitors, of=SHOP.models["Buys"], alarms="1/week"):
        features = parity()

    assert subjects(PLAN, [Only]) == {}


@pytest.mark.parametrize(
    ("kind", "values", "what", "greatest"),
    [
        (Kind.TIME, [0, 2_000_000], AGES, 10.0),
        (Kind.LIST, [[1.0], [1.0, 2.0]], LENGTHS, 2.0),
        (Kind.MAP, [{"a": 1.0}, {}], LENGTHS, 1.0),
        (Kind.BOOL, [True, False], "values", 1.0),
        (Kind.INT, [3, 7], "values", 7.0),
    ],
)
def test_every_kind_of_column_has_a_profile(kind: Kind, values: list[Any], what: str, greatest: float) -> None:
    column = cols.from_values(values, kind)
    time_us = np.full(2, round(timedelta(seconds=10).total_seconds() * 1e6), np.int64)
    said, profile = profile_column(column, kind, time_us)
    assert isinstance(profile, NumericProfile)
    assert (said, profile.max) == (what, greatest)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.integers(-3, 3).map(float), st.floats(width=32)), min_size=1, max_size=60),
    st.lists(st.integers(1, 20), min_size=1, max_size=6),
    st.randoms(),
)
def test_pieces_in_any_order_and_number_are_the_whole(values: list[float], cuts: list[int], random: Any) -> None:
    """Chunks of 20 rows; each written at several lengths, some twice, in any order: the sum is that of the rows."""
    values = [abs(value) if value == 0 else value for value in values]
    pieces = []
    for start in range(0, len(values), 20):
        chunk = values[start : start + 20]
        for cut in (*cuts, len(chunk)):
            part = NumericProfile.of(chunk[:cut])
            pieces.append(Piece("M.x", "", "values", "f", 0, 1, "t", 0, start, start + min(cut, len(chunk)), part))
    pieces += random.sample(pieces, len(pieces) // 2)
    random.shuffle(pieces)
    found = ProfileBook()
    for piece in pieces:
        found.add(piece.record("p").value)
    ((_, merged),) = found.windows("M.x", "", "f")
    whole = NumericProfile.of(values)
    assert isinstance(merged, NumericProfile)
    mine, theirs = merged.to_json(), whole.to_json()
    for name in ("sum", "sum_squares"):
        del mine[name], theirs[name]
    assert mine == theirs


def test_the_log_is_read_by_the_command(tmp_path: Path) -> None:
    from samestream.console.profiles import histogram

    numbers = histogram(NumericProfile.of([*range(100), 100_000]))
    assert len(numbers) == 16
    assert sum(int(line.rsplit(None, 1)[1]) for line in numbers) == 101
    assert histogram(NumericProfile.of([2.0, 2.0]))[0].split()[-1] == "2"
    assert histogram(NumericProfile()) == []
    texts = histogram(CategoryProfile.of(np.array(["a", "b", "a"], object)))
    assert [line.split()[0] for line in texts] == ["a", "b"]
    many = histogram(CategoryProfile.of(np.array([f"t{number % 40:02}" for number in range(400)], object)))
    assert (len(many), many[0].split()[-2:]) == (17, ["2.5%", "10"])
    assert many[-1].split()[-2:] == ["60.0%", "240"]
