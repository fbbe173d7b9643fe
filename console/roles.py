"""The roles of a running app: what `samestream run` starts, each in its own process in production."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from samestream.schemas.app import App
from samestream.schemas.errors import SettingsError
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.health import Health
from samestream.streams.engine.measures import Measure, measures_of
from samestream.streams.engine.processor import Processor
from samestream.streams.engine.snapshots import Snapshots
from samestream.streams.engine.standby import Presence, Standby
from samestream.streams.engine.task import Task
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_writer import LogWriter
from samestream.streams.lowering import compile_app
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.models.scorer import ScorerTask
from samestream.streams.plan import Plan
from samestream.streams.transport import Transport

ROLES = {
    "features": "computes feature vectors from events, online",
    "scorer": "scores every vector with the current champion",
    "outcomes": "joins predictions with the labels that come later",
    "log": "writes events, vectors, predictions and outcomes to Parquet",
    "monitor": "watches sources, features and scores, and opens incidents",
    "profiles": "profiles features, scores and sources by windows of event time; any number of processes share the partitions",
    "parity": "compares every vector served with its replay, and with SQL, all the time",
}
PROCESSORS = ("features", "scorer", "outcomes", "monitor")
"""The roles that are tasks of the one loop, with state of their own."""


class Role(Protocol):
    """Something that runs until told to stop, and can say how it is doing."""

    health: Health

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; finish what is under way, then return."""


class Alone:
    """A role without state to keep warm, of which one process works at a time."""

    def __init__(self, role: Role, transport: Transport, plan: Plan, stands_by: bool) -> None:
        self._role, self.health, self._stands_by = role, role.health, stands_by
        given = (transport, f"{plan.app}.{role.health.name}", plan.registry)
        self._presence, self._standby = Presence(*given), Standby(*given)

    def measures(self) -> Iterable[Measure]:
        """The figures of the role itself."""
        return measures_of(self._role)

    def run(self, stop: threading.Event) -> None:
        """Wait for its turn where it stands by, then work."""
        try:
            if self._stands_by:
                self.health.state = "standby"
                if not self._standby.await_turn(stop):
                    return
            self._presence.start(self._standby)
            self._role.run(stop)
        finally:
            self._presence.close()
            self._standby.close()


Keeping = Callable[[str], Snapshots | None]
"""The snapshots of a processor, by its identity."""


def keeping(folder: Path, every_s: float) -> Keeping:
    """Snapshots in a folder, that often."""
    return lambda identity: Snapshots(folder, identity, every_s)


def build(
    role: str,
    app: App,
    transport: Transport,
    log_root: str,
    *,
    accept_partitions: bool = False,
    sample: float = 1.0,
    snapshots: Keeping = lambda _: None,
    stands_by: bool = False,
) -> list[Role]:
    """The workers of a role: one, or one per model.

    sample : the share of keys whose vectors the log role keeps
    accept_partitions : go on even if a topic has another number of partitions than the journal says
    snapshots : by default none: a worker then recovers by replaying its journal
    stands_by : wait while another process of the role is active
    Raises SettingsError for a role that does not exist.
    """
    plan = compile_app(app)
    store = provision.store(transport, plan)
    if role == "log":
        writer = LogWriter(transport, plan, FeatureLog(log_root), store, sample=sample)
        return [Alone(writer, transport, plan, stands_by)]
    if role == "profiles":
        from samestream.monitors.profile_writer import ProfileWriter, subjects

        watched = list(app.monitors.values())
        return [ProfileWriter(transport, plan, watched)] if subjects(plan, watched) else []
    if role == "parity":
        from samestream.monitors.continuous_parity import ParityWorker, watched_models

        monitors = list(app.monitors.values())
        if not watched_models(monitors)[0]:
            return []
        return [Alone(ParityWorker(transport, plan, monitors, FeatureLog(log_root)), transport, plan, stands_by)]
    return [
        Processor(
            transport,
            plan.app,
            plan.journal,
            task,
            store,
            accept_partitions=accept_partitions,
            snapshots=snapshots(f"{plan.app}.{task.name}"),
            presence_topic=plan.registry,
            stands_by=stands_by,
        )
        for task in tasks(role, app, plan)
    ]


def tasks(role: str, app: App, plan: Plan) -> list[Task]:
    """What the processors of a role run: one task, or one per model. Raises SettingsError for a role that does not exist."""
    if role == "features":
        return [FeatureTask(plan)]
    if role == "scorer":
        return [ScorerTask(plan, model) for model in plan.models.values()]
    if role == "outcomes":
        return [OutcomeTask(plan, model) for model in plan.models.values()]
    if role == "monitor":
        from samestream.monitors.outcome_task import OutcomeMonitorTask, is_asked_for
        from samestream.monitors.task import MonitorTask

        found: list[Task] = [MonitorTask(plan, watched) for watched in app.monitors.values()]
        return found + [OutcomeMonitorTask(plan, watched) for watched in app.monitors.values() if is_asked_for(watched)]
    raise SettingsError(
        "no such role",
        where="samestream run",
        found=role,
        expected=", ".join(ROLES),
        hint="leave roles out to run them all.",
    )
