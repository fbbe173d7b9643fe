"""Part *sql*: code that changes on one side of the comparison with SQL, sixty times each way, on a month of flights.

The log holds what was served, and SQL computes the newest vectors once more, five minutes of them at a time. From an instant on
either SQL has another definition of one feature while what is served is right, or the engine and its replay have it, which
replay cannot see, while SQL is right. Without a change nothing may differ.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from faults import judged
from flights_year import HOUR_US, Ints
from served_year import CHANGES, Recorded, _changed, _read, _run, joined

from samestream.examples import flights, flights_data, producing
from samestream.monitors.journal_follower import JournalFollower
from samestream.monitors.parity_figures import PathFigures, Spell
from samestream.monitors.parity_incident import ParityIncidents
from samestream.monitors.sql_parity import compare_as_known
from samestream.schemas import app as apps
from samestream.streams.deploy import provision
from samestream.streams.engine.columnar import Vectors
from samestream.streams.engine.merge_rank import MergeRanks
from samestream.streams.engine.processor import Processor
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_writer import LogWriter, logged_topics
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.plan import ModelPlan, Plan

MONTH = 3
EACH, EACH_QUICK = 60, 4
COMPARED_US = HOUR_US // 12
HORIZON_US, REACH_US = 6 * HOUR_US, 26 * HOUR_US
"""How long after the change SQL goes on, and how far back its windows reach."""
SEED = 20_130_301


@dataclass(frozen=True)
class Month:
    """What was served, in order of known time; `changed`: by engines with another definition. ranks : of all events."""

    plan: Plan
    changed_plans: dict[str, Plan]
    vectors: Vectors
    changed: dict[str, Vectors]
    log: FeatureLog
    ranks: MergeRanks

    @property
    def model(self) -> ModelPlan:
        """The only model."""
        return next(iter(self.plan.models.values()))


def rows(quick: bool) -> dict[str, list[dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder:
        month = _month(Path(folder))
        calm = _differing(month, month.plan, None, int(month.vectors.known_us[9_000]))
        print(f"without a change {int(calm.sum())} of {len(calm):,} vectors differ")
        assert not calm.any()
        rng = np.random.default_rng(SEED)
        each = EACH_QUICK if quick else EACH
        sql = partial(_differing_by_sql, month)
        engine = partial(_differing_by_engine, month)
        return {
            "faults": [
                _of("code change in SQL", month, sql, rng, each),
                _of("code change in engine and replay", month, engine, rng, each),
            ]
        }


Differing = Callable[[str, int], Any]


def _of(fault: str, month: Month, differing: Differing, rng: np.random.Generator, each: int) -> dict[str, Any]:
    known_us = month.vectors.known_us
    low, high = np.searchsorted(known_us, [known_us[0] + REACH_US, known_us[-1] - HORIZON_US])
    said, faulty = list[int | None](), list[Ints]()
    right = 0
    transport = MemoryTransport(MemoryBroker())
    provision.provision(transport, apps.load(str(flights.__file__)), month.plan)
    while len(said) < each:
        change, at_us = str(rng.choice(list(CHANGES))), int(known_us[int(rng.integers(low, high))])
        wrong = differing(change, at_us)
        rows = known_us[slice(*np.searchsorted(known_us, [at_us, at_us + HORIZON_US]))]
        if not wrong.any():  # what is computed otherwise comes to the same in these hours
            continue
        faulty.append(rows[wrong])
        end_us = (int(rows[wrong][0]) // COMPARED_US + 1) * COMPARED_US
        compared, mismatched = int((rows < end_us).sum()), int(wrong[rows < end_us].sum())
        spell = Spell(int(rows[wrong][0]), compared, mismatched)
        figures = PathFigures(compared, mismatched, broken_known_us=end_us, spell=spell)
        (told,) = ParityIncidents(transport, month.plan, flights.LateArrivalHealth, {}).broken("as_known", figures)
        said.append(told.at_us)
        right += told.verdict == "definition_or_code"
    return judged(fault, "hard", "samestream", said, faulty, [], right)


def _differing_by_sql(month: Month, change: str, at_us: int) -> Any:
    return _differing(month, month.changed_plans[change], None, at_us)


def _differing_by_engine(month: Month, change: str, at_us: int) -> Any:
    return _differing(month, month.plan, month.changed[change], at_us)


def _differing(month: Month, by: Plan, instead: Vectors | None, at_us: int) -> Any:
    """Which of the vectors known from an instant on differ from SQL by a plan. instead : what was served, not what the log says."""
    known_us = month.vectors.known_us
    low, high = np.searchsorted(known_us, [at_us, at_us + HORIZON_US])
    places = month.vectors.rank[low:high] << 40 | month.vectors.offset[low:high]
    model = replace(next(iter(by.models.values())), fingerprint=month.model.fingerprint)

    def chosen(served: pa.Table) -> pa.Table:
        where = served["trigger_partition"].to_numpy().astype(np.int64) << 40 | served["trigger_offset"].to_numpy()
        served = served.filter(pa.array(np.isin(where, places)))
        if instead is None:
            return served
        where = where[np.isin(where, places)]
        order = np.argsort(places)
        rows = low + order[np.searchsorted(places[order], where)]
        for name, column in instead.features.items():
            values = pa.array(column.values[rows], mask=~column.valid[rows])
            at = served.column_names.index(name)
            served = served.set_column(at, name, values.cast(served.schema.field(name).type))
        return served

    found = compare_as_known(by, model, month.log, month.ranks, chosen)
    differs = np.logical_or.reduce([part.differs for part in found.values()])
    assert len(differs) == high - low
    by_place = np.argsort(np.argsort(places))  # a comparison tells in order of position
    return differs[by_place]


def _month(folder: Path) -> Month:
    app = apps.load(str(flights.__file__))
    plan = compile_app(app)
    others = {name: _changed(*change) for name, change in CHANGES.items()}
    transport = MemoryTransport(MemoryBroker())
    provision.provision(transport, app, plan)
    sent = producing.produce(transport, plan, flights_data.load([MONTH]))
    wanted = sum(sent[part.topic] for part in plan.inputs.values())
    task, store = Recorded(plan, others), provision.store(transport, plan)
    processor = Processor(transport, plan.app, plan.journal, task, store, batch_records=2_000, wait_s=0.0)
    _run(processor.run, lambda: _read(transport, plan) >= wanted)
    log = FeatureLog(folder)
    writer = LogWriter(transport, plan, log, store)
    total = sum(len(part) for topic in logged_topics(plan) for part in transport.read_all(topic))
    _run(writer.run, lambda: writer.health.events >= total)
    ranks, follower = MergeRanks(), JournalFollower(transport, plan, -1, -1)
    while follower.behind:
        for _, batch, _ in follower.follow(50_000):
            ranks.note(batch)
    follower.close()
    return Month(plan, others, joined(task.seen[""]), {name: joined(task.seen[name]) for name in CHANGES}, log, ranks)
