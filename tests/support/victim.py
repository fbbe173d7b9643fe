"""What a process of the fault suite runs: one role of an app, under a `fate`."""

from __future__ import annotations

import logging
import random
import signal
import sys
import threading
import time
import traceback
from contextlib import closing
from typing import Any

from fate import DoomedTransport, Fate, after, doom_snapshots, doom_storage, doom_task

from samestream.monitors.continuous_parity import ParityWorker
from samestream.monitors.profile_writer import ProfileWriter
from samestream.monitors.task import MonitorTask
from samestream.schemas.app import load
from samestream.schemas.errors import FencedError
from samestream.streams.deploy import provision
from samestream.streams.engine import tiles
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.processor import Processor, Task
from samestream.streams.engine.recovery import Recovery
from samestream.streams.engine.snapshots import Snapshots
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_writer import LogWriter
from samestream.streams.lowering import compile_app
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.models.scorer import ScorerTask
from samestream.streams.plan import Plan


def _let_the_clock_jump() -> None:
    """The wall clock of this process is off by days, otherwise at every question."""
    draw, tell, tell_ns = random.Random(), time.time, time.time_ns
    time.time = lambda: tell() + draw.uniform(-40, 40) * 86_400
    time.time_ns = lambda: tell_ns() + draw.randrange(-40, 40) * 86_400 * 10**9


def main(spec: dict[str, Any]) -> int:
    """Run a role until SIGTERM; the exit code is that of `samestream run`: 3 when another one took over, 1 for errors.

    spec : ``role``, ``module``, ``bootstrap`` and ``properties`` of librdkafka;
    ``point``, ``times`` and ``stop`` (rather than kill) of a fate;
    ``batch_records`` of a processor; ``snapshots`` (a folder), ``every_s`` and ``forked`` of its snapshots;
    ``log`` (a root) and ``batch_rows`` of the log's writer; ``clock_jumps``;
    ``held_bytes``; ``standby``: False to be seen by others, True to stand by behind them
    """
    if spec.get("clock_jumps"):
        _let_the_clock_jump()
    logging.basicConfig(level=logging.INFO)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    random.seed()
    fate = Fate(spec.get("point", ""), spec.get("times", 1), spec.get("stop", False))
    app = load(spec["module"])
    plan = compile_app(app)
    try:
        with closing(DoomedTransport(spec["bootstrap"], fate, spec.get("properties", {}))) as transport:
            store = provision.store(transport, plan)
            if spec["role"] == "log":
                doom_storage(fate)
                log, rows = FeatureLog(spec["log"]), spec["batch_rows"]
                LogWriter(transport, plan, log, store, batch_rows=rows, flush_s=0.02).run(stop)
                return 0
            if spec["role"] in ("parity", "profiles"):
                _watcher(spec, transport, plan, list(app.monitors.values())).run(stop)
                return 0
            (model,) = plan.models.values()
            task: Task
            if spec["role"] == "features":
                task = FeatureTask(plan)
            elif spec["role"] == "monitor":
                (watched,) = app.monitors.values()
                task = MonitorTask(plan, watched)
            else:
                task = {"scorer": ScorerTask, "outcomes": OutcomeTask}[spec["role"]](plan, model)
            Recovery.news = after(Recovery.news, fate, "journal.after")  # type: ignore[method-assign]
            doom_task(task, fate)
            doom_snapshots(fate)
            Processor(
                transport,
                plan.app,
                plan.journal,
                task,
                store,
                batch_records=spec["batch_records"],
                **{name: spec[name] for name in ("held_bytes",) if name in spec},
                snapshots=_snapshots(spec, f"{plan.app}.{task.name}"),
                presence_topic=plan.registry if "standby" in spec else "",
                stands_by=spec.get("standby", False),
            ).run(stop)
    except FencedError as fenced:
        print(fenced, file=sys.stderr)
        return 3
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _watcher(
    spec: dict[str, Any], transport: KafkaTransport, plan: Plan, monitors: list[Any]
) -> ParityWorker | ProfileWriter:
    if spec["role"] == "profiles":
        return ProfileWriter(transport, plan, monitors, flush_s=0.05)
    return ParityWorker(transport, plan, monitors, FeatureLog(spec["log"]), interval_s=0.0, sql_every_s=0.2)


def _snapshots(spec: dict[str, Any], identity: str) -> Snapshots | None:
    if "snapshots" not in spec:
        return None
    copied_bytes = 0 if spec.get("forked") else 10**9
    return Snapshots(spec["snapshots"], identity, spec.get("every_s", 0.05), copied_bytes)


def warm() -> None:
    """Import and compile all that roles need, so that a process forked from this one starts working at once."""
    import harness
    import sklearn.ensemble  # noqa: F401
    import skops.io  # noqa: F401

    tiles.warm()
    transport, events = harness.fresh(), harness.shop_events(20)
    two_days_us = 2 * 86_400 * harness.SECOND_US  # after which a monitor knows a day
    harness.send(transport, [*events, *(one._replace(known_us=one.known_us + two_days_us) for one in events)])
    harness.work_off(transport, FeatureTask(harness.PLAN))
    harness.work_off(transport, MonitorTask(harness.PLAN, harness.SHOP.monitors["BuysHealth"]))
