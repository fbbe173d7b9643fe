"""What an incident of a source names: events that show it, and where they sit; and it is told anew, once, when more have come."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import harness
import made_streams as made
import numpy as np
import pytest
from harness import PLAN, SHOP
from made_streams import DAY, HOUR, MINUTE, START

from samestream.monitors.declared import Declared, Quality
from samestream.monitors.drift_evidence import MOST_BYTES
from samestream.monitors.incidents import RIPE_EVENTS, IncidentRecord, Lineage
from samestream.monitors.latest_rows import KEPT, LatestRows
from samestream.monitors.source_spec import SourceSpec
from samestream.monitors.task import MonitorTask, parse
from samestream.monitors.watch import Watch
from samestream.streams.engine import value_arrays
from samestream.streams.engine.feature_task import FeatureTask

STRUCK, END = START + 22 * DAY + 9 * HOUR, START + 22 * DAY + 16 * HOUR
CARRIERS = np.array(["UA", "AA", "DL", "B6"], object)
SPEC = SourceSpec(
    "Flight",
    ("delay", "taxi"),
    {"delay": -60.0},
    {"delay": 6000.0},
    0,
    text_fields=("carrier",),
    units={"delay": "min"},
)
LINEAGE = Lineage("M", ("delay",), {"delay": tuple(("Flight", name) for name in ("delay", "taxi", "carrier", ""))})
DECLARED = Declared(made.LateArrival, 1.0, (Quality(),), ())  # type: ignore[arg-type]


@cache
def flights() -> dict[str, Any]:
    """Columns of forty flights an hour; delays in minutes, and minutes of taxiing."""
    draw = np.random.default_rng(3)
    hour = np.repeat(np.arange((END - START) // HOUR), 40)
    known = np.sort(START + hour * HOUR + draw.integers(0, HOUR, len(hour)))
    return {
        "known": known,
        "time": known - MINUTE,
        "key": np.array([f"f{number}" for number in range(len(known))], object),
        "partition": np.arange(len(known)) % 3,
        "offset": np.arange(len(known)) // 3,
        "delay": np.round(draw.gamma(4, 10, len(known))),
        "taxi": np.round(draw.normal(90, 5, len(known)), 1),
        "carrier": CARRIERS[draw.choice(4, len(known), p=[0.4, 0.3, 0.2, 0.1])],
        "there": np.ones(len(known), np.bool_),
    }


def told(columns: dict[str, Any], step_us: int = 3 * HOUR, packed: bool = False) -> list[IncidentRecord]:
    """What a watch says of them, fed in steps."""
    watch = Watch(LINEAGE, [SPEC], DECLARED)
    records: list[IncidentRecord] = []
    for at_us in range(START, END, step_us):
        rows = slice(*np.searchsorted(columns["known"], [at_us, at_us + step_us]).tolist())
        part = {name: column[rows] for name, column in columns.items()}
        every = np.ones(len(part["known"]), np.bool_)
        fields = {
            "delay": (part["delay"], part["there"]),
            "taxi": (part["taxi"], every),
            "carrier": (part["carrier"], every),
        }
        keys = part["key"].tolist()
        watch.on_events("Flight", part["known"], part["time"], fields, keys, part["partition"], part["offset"])
        watch.source_clock(at_us + step_us)
        if packed:
            watch = value_arrays.unpack(value_arrays.pack(watch))  # type: ignore[assignment]
        records += watch.records()
    return records


def struck(verdict: str, until_us: int = END) -> dict[str, Any]:
    """The flights with a fault from `STRUCK` on, until an instant."""
    columns = dict(flights())
    hit = (columns["known"] >= STRUCK) & (columns["known"] < until_us)
    delay, taxi, carrier = columns["delay"], columns["taxi"], columns["carrier"]
    odd = hit & (np.arange(len(delay)) % 5 == 0)
    changes: dict[str, dict[str, Any]] = {
        "sentinel": {"delay": np.where(hit & (carrier == "DL"), 999.0, delay)},
        "bad_values": {"delay": np.where(odd, -61.0 - np.arange(len(delay)), delay)},
        "zeroed": {"delay": np.where(odd, 0.0, delay)},
        "unit": {"delay": np.where(hit, delay * 60, delay)},
        "frozen": {"delay": np.where(hit, 37.0, delay)},
        "nulls": {"there": ~(hit & (carrier == "B6"))},
        "swapped": {"delay": np.where(hit, taxi, delay), "taxi": np.where(hit, delay, taxi)},
        "respelled": {"carrier": np.where(hit & (carrier == "UA"), "ua", carrier)},
        "new_category": {"carrier": np.where(odd, "ZZ", carrier)},
        "late_data": {"time": np.where(hit & (carrier == "AA"), columns["time"] - 5 * HOUR, columns["time"])},
        "clock": {"time": np.where(hit, columns["time"] - HOUR, columns["time"])},
    }
    if verdict == "duplicated":
        return {name: np.repeat(column, np.where(odd, 2, 1)) for name, column in columns.items()}
    return columns | changes[verdict]


VERDICTS = (
    "sentinel", "bad_values", "zeroed", "unit", "frozen", "nulls", "swapped", "respelled", "new_category", "late_data",
    "clock", "duplicated",
)  # fmt: skip


@cache
def records_of(verdict: str) -> list[IncidentRecord]:
    return told(struck(verdict))


@pytest.mark.parametrize("verdict", VERDICTS)
def test_events_are_named_that_show_it(verdict: str) -> None:
    columns, before = struck(verdict), flights()
    records = records_of(verdict)
    assert [one.event for one in records].count("open") == 1
    assert records[-1].verdict == verdict
    for record in records:
        assert len(json.dumps(record.evidence, allow_nan=False)) <= MOST_BYTES
        assert 1 <= len(record.evidence["examples"]) <= 5
    place_of = {key: place for place, key in enumerate(columns["key"].tolist())}
    for example in records[-1].evidence["examples"]:
        place = place_of[example["key"]]
        assert columns["known"][place] >= STRUCK
        assert (example["partition"], example["offset"]) == (columns["partition"][place], columns["offset"][place])
        if verdict == "duplicated":
            assert columns["key"].tolist().count(example["key"]) == 2
            continue
        was = int(example["key"].removeprefix("f"))
        names = ("delay", "taxi", "carrier", "time", "there")
        assert any(columns[name][place] != before[name][was] for name in names), "it was touched by the fault"
        if verdict in ("sentinel", "bad_values", "zeroed", "unit", "frozen"):
            assert example["value"] == columns["delay"][place]


@pytest.mark.parametrize("verdict", VERDICTS)
def test_an_open_incident_is_told_anew_once(verdict: str) -> None:
    records = records_of(verdict)
    retold = [one for one in records if "told_anew_after_events" in one.evidence]
    assert [one.event for one in retold] == ["update"]
    assert retold[0].evidence["told_anew_after_events"] >= RIPE_EVENTS
    last_verdict_us = max(one.at_us for one in records if one is not retold[0])
    assert HOUR <= retold[0].at_us - last_verdict_us <= 3 * HOUR
    assert {one.evidence["incidents_of_28_days"] for one in records} == {1}
    assert (retold[0].verdict, retold[0].severity) == (records[-1].verdict, records[-1].severity)


@pytest.mark.parametrize(
    ("verdict", "name", "share"),
    [
        ("sentinel", "share", 0.2), ("bad_values", "share", 0.2), ("zeroed", "zero_share", 0.2), ("nulls", "null_share", 0.1),
        ("late_data", "share", 0.3), ("duplicated", "share", 1 / 6),
    ],
)  # fmt: skip
def test_its_share_is_that_of_the_events_since(verdict: str, name: str, share: float) -> None:
    evidence = records_of(verdict)[-1].evidence
    assert evidence["share_of_events"] >= RIPE_EVENTS
    spread = (share * (1 - share) / evidence["share_of_events"]) ** 0.5
    assert evidence[name] == pytest.approx(share, abs=3 * spread)


@pytest.mark.parametrize(("verdict", "carrier"), [("sentinel", "DL"), ("nulls", "B6"), ("late_data", "AA")])
def test_who_sends_it_is_named(verdict: str, carrier: str) -> None:
    (sits,) = records_of(verdict)[-1].evidence["slices"]
    assert (sits["by"], sits["is"], sits["share_of_faulty"]) == ("carrier", carrier, 1.0)
    assert sits["faulty"] <= sits["rows"]
    assert sits["share_of_rows"] < 0.5


@pytest.mark.parametrize("verdict", ["bad_values", "zeroed", "unit", "duplicated", "swapped", "new_category"])
def test_what_is_everywhere_sits_nowhere(verdict: str) -> None:
    evidence = records_of(verdict)[-1].evidence
    assert evidence["slices"] == []
    assert "carrier" in evidence["slices_by"] or verdict == "new_category"  # that is the field itself


@pytest.mark.parametrize("verdict", sorted({*VERDICTS} - {"duplicated", "swapped"}))
def test_histograms_are_told_of_values_texts_and_lags(verdict: str) -> None:
    shown = records_of(verdict)[-1].evidence["histogram"]
    names = shown.get("from") or shown["texts"]
    assert len(names) == len(shown["before"]) == len(shown["after"])
    if verdict != "nulls":  # what is there is as it was
        apart = np.abs(np.subtract(*(np.array(shown[side]) / sum(shown[side]) for side in ("before", "after"))))
        assert apart.max() > 0.08


@pytest.mark.parametrize("verdict", ["sentinel", "duplicated", "respelled"])
def test_batches_and_restarts_change_nothing(verdict: str) -> None:
    assert told(struck(verdict), step_us=7 * MINUTE) == records_of(verdict)
    assert told(struck(verdict), step_us=11 * HOUR, packed=True) == records_of(verdict)


def test_what_is_over_before_there_was_more_is_not_told_anew() -> None:
    records = told(struck("unit", until_us=STRUCK + 20 * MINUTE))
    assert [one.event for one in records] == ["open", "close"]


def test_evidence_is_small_however_long_keys_and_texts_are() -> None:
    columns = struck("respelled")
    columns["key"] = np.array([key + "k" * 5000 for key in columns["key"].tolist()], object)
    columns["carrier"] = np.array([name + "c" * 5000 for name in columns["carrier"].tolist()], object)
    records = told(columns)
    assert records[-1].evidence["known_as"]
    for record in records:
        assert len(json.dumps(record.evidence)) <= MOST_BYTES
        assert all(len(one["key"]) == len(one["value"]) == 64 for one in record.evidence["examples"])


def test_what_is_kept_is_the_tick_and_a_bounded_past_wherever_batches_end() -> None:
    draw = np.random.default_rng(1)
    whole, often = LatestRows(), LatestRows()
    rows = 0
    for size in draw.integers(0, 90, 200).tolist():
        tick = (np.arange(rows, rows + size), np.array([f"k{row}" for row in range(rows, rows + size)], object))
        for one in (whole, often):
            one.turn(tick if size else None)
        rows += size
        kept = [one.columns() for one in (whole, often)]
        assert [column.tolist() for column in kept[0]] == [column.tolist() for column in kept[1]]
        if rows:
            assert kept[0][0].tolist() == list(range(max(rows - size - KEPT, 0), rows))
        if draw.random() < 0.5:
            often.let_go()
    assert LatestRows().columns() == ()


def test_examples_say_where_in_the_topic_they_lie() -> None:
    calm, bad = harness.shop_events(6500), harness.shop_events(6500, seconds_scale=-1.0)
    transport = harness.fresh()
    harness.send(transport, [*calm[:700], *bad[700:900]])
    harness.work_off(transport, FeatureTask(PLAN))
    harness.work_off(transport, MonitorTask(PLAN, SHOP.monitors["BuysHealth"]))
    records = [parse(value) for _, _, value, _ in harness.contents(transport, [PLAN.drift])[PLAN.drift]]
    (opened,) = [one for one in records if one is not None and one.event == "open"]
    topic = PLAN.events["View"].topic
    lies_at = {
        (fetched.partition.partition, offset): key
        for fetched in transport.read_all(topic)
        for offset, key in zip(fetched.offsets.tolist(), fetched.keys, strict=True)
    }
    assert opened.evidence["examples"]
    for example in opened.evidence["examples"]:
        assert example["value"] < 0
        assert lies_at[example["partition"], example["offset"]] == example["key"].encode()
