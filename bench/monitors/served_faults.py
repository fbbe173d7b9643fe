"""Faults behind the sources: in what was served, in the code of one engine, and in the model that scores.

What catches them is what runs beside the system: every served vector is held against its replay (`monitors.vector_stream`, whose
findings `monitors.parity_incident` tells), and every prediction against what the announced artifact says of the vector
(`monitors.score_parity`). Both speak about what was served within a second; so time goes here, second by second of known time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flights_year import Column, Ints
from served_year import CHANGES, Floats, ServedYear, differs, made, taken

from samestream.examples import flights
from samestream.monitors.incidents import IncidentBook, Lineage
from samestream.monitors.parity_figures import PathFigures
from samestream.monitors.parity_incident import ParityIncidents
from samestream.monitors.score_parity import ScoreParity
from samestream.monitors.vector_stream import VectorStream
from samestream.schemas import app as apps
from samestream.streams.columns import ColumnData
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import VectorEncoder
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.models.artifact import Artifact
from samestream.streams.transport import Fetched, Partition, partition_of, position

Rng = np.random.Generator
SECOND_US = 1_000_000


@dataclass(frozen=True)
class Struck:
    """What came instead, of the rows of the served year from one instant on.

    rows : which. columns : features, or ``score``, that came otherwise, of these rows. wrong : rows that differ, shape (rows,).
    """

    rows: slice
    columns: dict[str, Column]
    wrong: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ServedFault:
    """strike : what comes of rows. caught : (known time, verdict) of the first word about it, None where there is none."""

    name: str
    verdicts: frozenset[str]
    strike: Callable[[ServedYear, slice, Rng], Struck]
    caught: Callable[[ServedYear, Struck], tuple[int, str] | None]


def _features(year: ServedYear, rows: slice, new: dict[str, Column]) -> Struck:
    wrong = np.zeros(len(year.known_us[rows]), np.bool_)
    for name, (values, valid) in new.items():
        wrong |= differs(ColumnData(values, valid), ColumnData(*(part[rows] for part in year.columns[name])))
    return Struck(rows, new, wrong)


def _of(year: ServedYear, rows: slice, name: str) -> Column:
    values, valid = year.columns[name]
    return values[rows], valid[rows]


def _scaled(year: ServedYear, rows: slice, rng: Rng) -> Struck:
    name = str(rng.choice(list(SCALES)))
    values, valid = _of(year, rows, name)
    scale, offset = SCALES[name]
    return _features(year, rows, {name: (values * scale + offset, valid)})


SCALES = {
    "carrier_delay": (60.0, 0.0), "origin_delay": (60.0, 0.0), "origin_delay_day": (60.0, 0.0),
    "distance": (1.609344, 0.0), "temp": (5 / 9, -160 / 9), "late_share": (100.0, 0.0), "wind": (0.44704, 0.0),
}  # fmt: skip
NUMBERS = (
    "carrier_delay",
    "carrier_departures",
    "origin_delay",
    "origin_delay_day",
    "excess_delay",
    "late_share",
    "temp",
    "wind",
)


def _stuck(year: ServedYear, rows: slice, rng: Rng) -> Struck:
    name = str(rng.choice(NUMBERS))
    values, valid = _of(year, rows, name)
    before, there = year.columns[name]
    last = before[: rows.start][there[: rows.start]][-1]
    return _features(year, rows, {name: (np.full(len(values), last), np.ones(len(valid), np.bool_))})


def _zero(year: ServedYear, rows: slice, rng: Rng) -> Struck:
    name = str(rng.choice(NUMBERS))
    values, valid = _of(year, rows, name)
    return _features(year, rows, {name: (np.where(rng.random(len(values)) < 0.2, 0.0, values), valid)})


def _odd(year: ServedYear, rows: slice, rng: Rng) -> Struck:
    name = str(rng.choice(NUMBERS))
    values, valid = _of(year, rows, name)
    return _features(year, rows, {name: (np.where(rng.random(len(values)) < 0.05, -999.0, values), valid)})


def _exchanged(year: ServedYear, rows: slice, rng: Rng) -> Struck:
    pairs = (("carrier_delay", "origin_delay"), ("temp", "wind"), ("visibility", "rain"), ("distance", "hour"))
    one, other = pairs[int(rng.integers(len(pairs)))]
    return _features(year, rows, {one: _of(year, rows, other), other: _of(year, rows, one)})


def _other_code(year: ServedYear, rows: slice, rng: Rng) -> Struck:
    change = str(rng.choice(list(CHANGES)))
    new = {
        name: (column.values[rows].astype(np.float64), column.valid[rows])
        for name, column in year.changed[change].items()
    }
    return _features(year, rows, new)


def by_parity(year: ServedYear, struck: Struck) -> tuple[int, str] | None:
    """When parity speaks of what was served, and what it says."""
    model, (stream, incidents, encoder, store_topic) = year.vectors.model, _parity(year)
    figures = PathFigures()
    ends = dict.fromkeys(year.vectors.partitions, 2**62)
    offsets = [0] * PARTITIONS
    for part in _seconds(year, struck):
        inside = slice(part.start - struck.rows.start, part.stop - struck.rows.start)
        right = taken(year.vectors, part)
        new = {
            name: ColumnData(_as(values[inside], right.features[name]), valid[inside])
            for name, (values, valid) in struck.columns.items()
        }
        served: list[list[Any]] = [[] for _ in range(PARTITIONS)]
        for record in encoder.records(taken(year.vectors, part, new)):
            served[partition_of(record.key or b"", PARTITIONS)].append(record)
        stream.expect(year.entry, right)
        for number, records in enumerate(served):
            if records:
                places = np.arange(offsets[number], offsets[number] + len(records))
                offsets[number] += len(records)
                known = np.array([one.known_us for one in records], np.int64)
                keys, values = [one.key for one in records], [one.value for one in records]
                stream.serve(Fetched(Partition(store_topic, number), places, known, keys, values), figures)
        if stream.settle(ends, figures):
            told = incidents.broken("replay", figures)
            assert set(figures.by_feature) <= set(model.outputs)
            return int(year.known_us[part.stop - 1]), told[0].verdict
    return None


PARTITIONS = 2


def _parity(year: ServedYear) -> tuple[VectorStream, ParityIncidents, VectorEncoder, str]:
    transport = MemoryTransport(MemoryBroker())
    provision.provision(transport, apps.load(str(flights.__file__)), year.plan)
    model = year.vectors.model
    stream = VectorStream(year.plan, model, provision.store(transport, year.plan), PARTITIONS)
    return (
        stream,
        ParityIncidents(transport, year.plan, flights.LateArrivalHealth, {}),
        VectorEncoder(year.plan),
        model.topics["features"],
    )


def _as(values: Floats, like: ColumnData) -> npt.NDArray[Any]:
    """Numbers as the vector's schema has them."""
    return values.astype(like.values.dtype)


def _seconds(year: ServedYear, struck: Struck) -> Iterator[slice]:
    """The rows as they come: all before the first that is wrong at once, then second by second."""
    rows, known = struck.rows, year.known_us[struck.rows]
    first = int(np.argmax(struck.wrong)) if struck.wrong.any() else len(known)
    first = int(np.searchsorted(known // SECOND_US, known[first] // SECOND_US)) if first < len(known) else first
    if first:
        yield slice(rows.start, rows.start + first)
    cuts = first + np.flatnonzero(np.diff(known[first:] // SECOND_US)) + 1
    bounds = [first, *cuts.tolist(), len(known)]
    for low, high in itertools.pairwise(bounds):
        if high > low:
            yield slice(rows.start + low, rows.start + high)


# the model that scores


class Swaps:
    """Models that stand for the one announced: trained on shuffled labels, with other settings, or of another month."""

    def __init__(self, year: ServedYear) -> None:
        self._pool: dict[tuple[str, int], Artifact] = {}
        names = tuple(year.vectors.features)
        self._matrix = np.column_stack([np.where(year.columns[n][1], year.columns[n][0], np.nan) for n in names])

    def strike(self, year: ServedYear, rows: slice, rng: Rng) -> Struck:
        """The scores of another model under the version announced."""
        now = year.model_at(int(year.known_us[rows.start]))
        number = year.models.index(now)
        rows = slice(rows.start, min(rows.stop, int(np.searchsorted(year.known_us, _end(year, number)))))
        x = self._matrix[rows]
        kind = ("labels shuffled", "other settings", "another month", "inputs exchanged")[int(rng.integers(4))]
        if kind == "inputs exchanged":
            one, other = rng.choice(x.shape[1], 2, replace=False).tolist()
            x = x.copy()
            x[:, [one, other]] = x[:, [other, one]]
            score = now.predictor().predict(x)
        elif kind == "another month":
            score = year.models[number - 4 if number >= 4 else number + 4].predictor().predict(x)
        else:
            score = self._trained(year, kind, number - number % 6).predictor().predict(x)
        return Struck(rows, {"score": (score, np.ones(len(score), np.bool_))}, score != year.score[rows])

    def _trained(self, year: ServedYear, kind: str, number: int) -> Artifact:
        if (kind, number) not in self._pool:
            at_us, from_us = year.models[number].applies_from_us, year.models[number].reference["from_us"]
            low, high = np.searchsorted(year.known_us, [from_us, at_us])
            rows = np.arange(low, high)[(year.label_known_us[low:high] < at_us) & ~np.isnan(year.label[low:high])]
            y = year.label[rows]
            if kind == "labels shuffled":
                self._pool[kind, number] = made(
                    year, self._matrix[rows], np.random.default_rng(7).permutation(y), at_us, {}
                )
            else:
                self._pool[kind, number] = made(year, self._matrix[rows], y, at_us, {}, {"max_iter": 30})
        return self._pool[kind, number]


def _end(year: ServedYear, number: int) -> int:
    return year.models[number + 1].applies_from_us if number + 1 < len(year.models) else 2**62


def by_score_parity(year: ServedYear, struck: Struck) -> tuple[int, str] | None:
    """When the comparison of predictions with the announced artifact speaks, and what it says."""
    now = year.model_at(int(year.known_us[struck.rows.start]))
    book = IncidentBook(Lineage(year.vectors.model.name, tuple(year.vectors.features), {}), 1.0)
    parity = ScoreParity(book, tuple(year.vectors.features))
    parity.announce(now.version, "announced", "digest")
    score, valid = struck.columns["score"]
    places = position(year.vectors.rank, year.vectors.offset)
    for part in _seconds(year, struck):
        inside = slice(part.start - struck.rows.start, part.stop - struck.rows.start)
        count = part.stop - part.start
        keys, known = year.vectors.entity.values[part], year.known_us[part]
        said = {
            "version": ColumnData(np.full(count, now.version, object), np.ones(count, np.bool_)),
            "score": ColumnData(score[inside], valid[inside]),
            "value": ColumnData(np.full(count, "", object), np.zeros(count, np.bool_)),
        }
        parity.on_vectors(known, places[part], keys, {n: c.take(part) for n, c in year.vectors.features.items()})
        parity.on_predictions(known, places[part], keys, said)
        parity.compare(lambda uri, digest: now)
        if told := book.records():
            return int(year.known_us[part.stop - 1]), told[0].verdict
    return None


def served_faults(year: ServedYear) -> tuple[ServedFault, ...]:
    """Every kind."""
    code = frozenset({"definition_or_code"})
    return (
        ServedFault("code change in one engine", code, _other_code, by_parity),
        ServedFault("model swapped", frozenset({"model_swapped"}), Swaps(year).strike, by_score_parity),
        ServedFault("unit error, of a feature", code, _scaled, by_parity),
        ServedFault("frozen, of a feature", code, _stuck, by_parity),
        ServedFault("20 % zeroed, of a feature", code, _zero, by_parity),
        ServedFault("5 % sentinel, of a feature", code, _odd, by_parity),
        ServedFault("swapped, of features", code, _exchanged, by_parity),
    )


def strike_at(fault: ServedFault, year: ServedYear, at_us: int, horizon_us: int, rng: Rng) -> Struck:
    """Strike from an instant on."""
    low, high = np.searchsorted(year.known_us, [at_us, at_us + horizon_us])
    return fault.strike(year, slice(int(low), int(high)), rng)


def faulty_us(year: ServedYear, struck: Struck) -> Ints:
    """Known times of the rows that are wrong."""
    return year.known_us[struck.rows][struck.wrong]
