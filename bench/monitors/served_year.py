"""The year as the engine served it: vectors, those of engines with a changed definition, models and what they say.

The events go through the feature processor on a log in memory. Beside the declared plan, plans with one line changed see the very
same batches: what an engine with other code would have served. Models are trained every week on thirty days, as `train` does it.
"""

from __future__ import annotations

import hashlib
import pickle
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flights_year import DAY_US, Column, Ints

from samestream.examples import flights, flights_data, producing
from samestream.monitors.journal_follower import JournalFollower
from samestream.monitors.parity_figures import PathFigures
from samestream.monitors.vector_stream import VectorStream
from samestream.schemas import app as apps
from samestream.streams import columns as cols
from samestream.streams.columns import ColumnData
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.columnar import ColumnarEngine, Vectors
from samestream.streams.engine.feature_task import NAME, FeatureTask
from samestream.streams.engine.journal import Entry
from samestream.streams.engine.order import Batch
from samestream.streams.engine.processor import Processor
from samestream.streams.engine.task import Emitted
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.models.artifact import Artifact
from samestream.streams.models.category_profile import profile_of
from samestream.streams.models.encoding import Encoding
from samestream.streams.plan import Plan
from samestream.streams.transport import Partition
from samestream.trainers import boosted_trees

Floats = npt.NDArray[np.float64]
ROOT = Path(__file__).resolve().parents[2]
CODE = ("schemas", "streams", "trainers")
"""What decides what is served."""
_MEAN_3H, _RAIN_6H = 'mean_delay_3h = Departure.dep_delay.mean(over="3h")', 'rain_6h = Weather.precip.sum(over="6h")'
_PLAIN, _EXCESS = "carrier_delay = CarrierNow.mean_delay_3h\n", "OriginNow.mean_delay_1h - CarrierNow.mean_delay_3h"
CHANGES = {
    "at least 15 minutes for more than 15": ("dep_delay > 15) /", "dep_delay >= 15) /"),
    "two hours for three": (_MEAN_3H, _MEAN_3H.replace('3h")', '2h")')),
    "hours for minutes": (_PLAIN, _PLAIN.replace("\n", " / 60\n")),
    "filled with 1 for 0": (".fill(0)", ".fill(1)"),
    "mean for greatest": ("wind_speed.max(", "wind_speed.mean("),
    "five hours of rain for six": (_RAIN_6H, _RAIN_6H.replace('6h")', '5h")')),
    "the other way round": (_EXCESS, "CarrierNow.mean_delay_3h - OriginNow.mean_delay_1h"),
}
"""One line of the declaration, and what an engine computes instead."""
TRAINED_EVERY, HISTORY = 7, 30
"""Days."""


@dataclass
class ServedYear:
    """Vectors in served order; all arrays of shape (vectors,). changed : by change, the features that differ in it.

    parity : what the comparison of all of them with their replay found.
    """

    plan: Plan
    vectors: Vectors
    changed: dict[str, dict[str, ColumnData]]
    entry: Entry
    parity: PathFigures
    label: Floats
    label_known_us: Ints
    models: list[Artifact] = field(default_factory=list)
    score: Floats = field(default_factory=lambda: np.zeros(0))
    """NaN before the first model applied."""

    @property
    def known_us(self) -> Ints:
        """Known time of each vector."""
        return self.vectors.known_us

    @cached_property
    def columns(self) -> dict[str, Column]:
        """Every feature as numbers."""
        return {name: (part.values.astype(np.float64), part.valid) for name, part in self.vectors.features.items()}

    def model_at(self, at_us: int) -> Artifact:
        """The model that applies."""
        return [one for one in self.models if one.applies_from_us <= at_us][-1]


class Recorded(FeatureTask):
    """A feature processor that keeps its vectors, and shows its batches to engines of other plans."""

    def __init__(self, plan: Plan, others: dict[str, Plan]) -> None:
        super().__init__(plan)
        self.others = {name: ColumnarEngine(other) for name, other in others.items()}
        self.seen: dict[str, list[Vectors]] = {name: [] for name in ("", *others)}

    def process(self, batch: Batch, clocks: Clocks) -> Emitted:
        """Apply a judged batch."""
        found = self._engine.process(batch)
        self.seen[""] += found
        for name, engine in self.others.items():
            self.seen[name] += engine.process(batch)
        parcels = [self.encoder.records(vectors) for vectors in found]
        return Emitted(parcels=parcels, results=sum(map(len, parcels)))


def served_year() -> ServedYear:
    """The year, served, compared with its replay, labelled and scored: as it was left under build/ by the same code, or anew."""
    code = [Path(one) for folder in CODE for one in sorted(map(str, (ROOT / folder).rglob("*.py")))]
    digest = hashlib.sha256(b"".join(one.read_bytes() for one in (*code, Path(__file__), Path(str(flights.__file__)))))
    kept = ROOT / "build" / "bench" / f"served-year-{digest.hexdigest()[:16]}.pickle"
    if kept.exists():
        found = pickle.loads(kept.read_bytes())  # our own file
        # a declaration is no data
        plan = compile_app(apps.load(str(flights.__file__)))
        vectors = replace(found.vectors, model=next(iter(plan.models.values())))
        return replace(found, plan=plan, vectors=vectors)
    year = _served_year()
    kept.parent.mkdir(parents=True, exist_ok=True)
    for old in kept.parent.glob("served-year-*.pickle"):
        old.unlink()
    for model in year.models:
        model.__dict__.pop("_predictor", None)  # it holds handles
    # what is kept lacks its declarations, which every reader above puts back: no type says so
    bare = replace(year, plan=None, vectors=replace(year.vectors, model=None))  # type: ignore[arg-type]
    kept.write_bytes(pickle.dumps(bare))
    return year


def _served_year(months: range = range(1, 13)) -> ServedYear:
    app = apps.load(str(flights.__file__))
    plan = compile_app(app)
    transport = MemoryTransport(MemoryBroker())
    provision.provision(transport, app, plan)
    batches = flights_data.load(months)
    sent = producing.produce(transport, plan, batches)
    wanted = sum(sent[part.topic] for part in plan.inputs.values())
    task = Recorded(plan, {name: _changed(*change) for name, change in CHANGES.items()})
    store = provision.store(transport, plan)
    processor = Processor(transport, plan.app, plan.journal, task, store, batch_records=20_000, wait_s=0.0)
    _run(processor.run, lambda: _read(transport, plan) >= wanted)
    vectors = joined(task.seen[""])
    changed = {}
    for name in CHANGES:
        other = joined(task.seen[name])
        assert (other.offset == vectors.offset).all()
        changed[name] = {
            feature: other.features[feature]
            for feature in vectors.features
            if differs(other.features[feature], vectors.features[feature]).any()
        }
    figures, entry = _compared(transport, plan)
    arrivals = batches["Arrival"]
    place = {key: row for row, key in enumerate(arrivals.key)}
    rows = np.array([place.get(entity, -1) for entity in vectors.entity.values.tolist()], np.int64)
    late = np.array([np.nan if v is None else float(v > 15) for v in arrivals.columns["arr_delay"]], np.float64)
    year = ServedYear(
        plan, vectors, changed, entry, figures,
        np.where(rows >= 0, late[rows], np.nan), np.where(rows >= 0, arrivals.known_us[rows], np.iinfo(np.int64).max),
    )  # fmt: skip
    year.models, year.score = trained_and_scored(year)
    return year


def joined(parts: list[Vectors]) -> Vectors:
    """Vectors of many batches as one; partitions are told by their number."""
    first = parts[0]
    numbers = [np.array([one.partition for one in part.partitions], np.int64)[part.rank] for part in parts]
    topic = next(one.topic for one in first.partition)
    every = [Partition(topic, number) for number in range(int(max(part.max(initial=0) for part in numbers)) + 1)]
    return Vectors(
        first.model, cols.concatenate([part.entity for part in parts]),
        np.concatenate([part.event_time_us for part in parts]), np.concatenate([part.known_us for part in parts]),
        every, np.concatenate(numbers), np.concatenate([part.offset for part in parts]),
        {name: cols.concatenate([part.features[name] for part in parts]) for name in first.features},
    )  # fmt: skip


def taken(vectors: Vectors, rows: Any, features: dict[str, ColumnData] | None = None) -> Vectors:
    """Some of the vectors, by a slice or by places; with some features exchanged, which are of the same rows."""
    mine = {name: part.take(rows) for name, part in vectors.features.items()} | (features or {})
    return replace(
        vectors, entity=vectors.entity.take(rows), event_time_us=vectors.event_time_us[rows],
        known_us=vectors.known_us[rows], rank=vectors.rank[rows], offset=vectors.offset[rows], features=mine,
    )  # fmt: skip


def differs(one: ColumnData, other: ColumnData) -> npt.NDArray[np.bool_]:
    """Where two columns are not the same."""
    unequal = np.array(one.values != other.values, np.bool_)
    return (one.valid != other.valid) | (one.valid & other.valid & unequal)


def moved(year: ServedYear, places: Ints, by_us: Ints) -> ServedYear:
    """Some of the vectors at other times, as if they had been served then; models are trained anew. by_us : shape (places,)."""
    vectors = taken(year.vectors, places)
    vectors = replace(vectors, known_us=vectors.known_us + by_us, event_time_us=vectors.event_time_us + by_us)
    label_us = year.label_known_us[places]
    known = label_us < np.iinfo(np.int64).max
    found = replace(
        year, vectors=vectors, label=year.label[places], label_known_us=np.where(known, label_us + by_us, label_us),
        models=[], score=np.zeros(0),
    )  # fmt: skip
    found.models, found.score = trained_and_scored(found)
    return found


def trained_and_scored(year: ServedYear) -> tuple[list[Artifact], Floats]:
    """A model every week, and what the one that applied said of each vector."""
    known_us = year.known_us
    label_us = np.where(np.isnan(year.label), np.iinfo(np.int64).max, year.label_known_us)
    start_us = int(known_us[0]) // DAY_US * DAY_US
    names = tuple(year.vectors.features)
    matrix = Encoding(names).matrix(year.vectors.features)
    models, score = [], np.full(len(known_us), np.nan)
    for day in range(HISTORY, 366, TRAINED_EVERY):
        at_us, from_us = start_us + day * DAY_US, start_us + (day - HISTORY) * DAY_US
        low, high = np.searchsorted(known_us, [from_us, at_us])
        rows = np.arange(low, high)[label_us[low:high] < at_us]
        model = made(year, matrix[rows], year.label[rows], at_us, {"from_us": from_us})
        models.append(model)
        now = slice(*np.searchsorted(known_us, [at_us, at_us + TRAINED_EVERY * DAY_US]))
        score[now] = model.predictor().predict(matrix[now])
    return models, score


def made(
    year: ServedYear,
    x: Floats,
    y: Floats,
    at_us: int,
    reference: dict[str, Any],
    params: dict[str, float] | None = None,
) -> Artifact:
    """An artifact trained on rows, with its reference, as `trainers.train` makes it."""
    names = tuple(year.vectors.features)
    fitted = boosted_trees.fit(x, y, params)
    model = Artifact(
        year.vectors.model.name, str(at_us), year.vectors.model.fingerprint, names, "probability", at_us, {}, {}, {},
        fitted.estimator,
    )  # fmt: skip
    features = {
        name: profile_of(np.nan_to_num(x[:, at]), ~np.isnan(x[:, at])).to_json() for at, name in enumerate(names)
    }
    scores = profile_of(model.predictor().predict(x)).to_json()
    return replace(model, reference={"features": features, "scores": scores, **reference})


def _changed(old: str, new: str) -> Plan:
    source = Path(str(flights.__file__)).read_text()
    assert source.count(old) == 1, f"{old!r} is not one line of the declaration"
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "flights.py"
        other.write_text(source.replace(old, new))
        return compile_app(apps.load(str(other)))


def _read(transport: MemoryTransport, plan: Plan) -> int:
    return sum(part.read for part in journal.balance(journal.read(transport, plan.journal, NAME)).values())


def _run(run: Callable[[threading.Event], None], done: Callable[[], bool]) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop,), daemon=True)
    thread.start()
    while thread.is_alive() and not done():
        time.sleep(0.2)
    stop.set()
    thread.join(60)
    assert done(), "the processor stopped before it was done"


def _compared(transport: MemoryTransport, plan: Plan) -> tuple[PathFigures, Entry]:
    """Everything served against its replay from empty state, as the parity role does it."""
    (model,) = plan.models.values()
    topic = model.topics["features"]
    count = transport.topics()[topic]
    stream = VectorStream(plan, model, provision.store(transport, plan), count)
    figures, follower = PathFigures(), JournalFollower(transport, plan, -1, -1)
    served = transport.read_all(topic)
    for fetched in served:
        stream.serve(fetched, figures)
    entry = None
    while follower.behind:
        for entry, _, every in follower.follow(50_000):
            for vectors in every:
                stream.expect(entry, vectors)
        stream.match(figures)
    stream.settle(follower.ends, figures)
    follower.close()
    assert entry is not None
    return figures, entry
