"""The roles of a running app: what `samestream run` starts, each in its own process in production."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from samestream.schemas.app import App
from samestream.schemas.errors import SettingsError
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.processor import Health, Processor, Task
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_writer import LogWriter
from samestream.streams.lowering import compile_app
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.models.scorer import ScorerTask
from samestream.streams.plan import ModelPlan, Plan
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


class Role(Protocol):
    """Something that runs until told to stop, and can say how it is doing."""

    health: Health

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; finish what is under way, then return."""


def build(role: str, app: App, transport: Transport, log_root: str, *, accept_partitions: bool = False) -> list[Role]:
    """The workers of a role: one, or one per model.

    accept_partitions : go on even if a topic has another number of partitions than the journal says
    Raises SettingsError for a role that does not exist.
    """
    plan = compile_app(app)
    store = provision.store(transport, plan)

    def processor(task: Task) -> Role:
        return Processor(transport, plan.app, plan.journal, task, store, accept_partitions=accept_partitions)

    def per_model(task: Callable[[Plan, ModelPlan], Task]) -> list[Role]:
        return [processor(task(plan, model)) for model in plan.models.values()]

    if role == "features":
        return [processor(FeatureTask(plan))]
    if role == "scorer":
        return per_model(ScorerTask)
    if role == "outcomes":
        return per_model(OutcomeTask)
    if role == "log":
        return [LogWriter(transport, plan, FeatureLog(log_root), store)]
    if role == "monitor":
        from samestream.monitors.task import MonitorTask

        return [processor(MonitorTask(plan, watched)) for watched in app.monitors.values()]
    if role == "profiles":
        from samestream.monitors.profile_writer import ProfileWriter, subjects

        watched = list(app.monitors.values())
        return [ProfileWriter(transport, plan, watched)] if subjects(plan, watched) else []
    if role == "parity":
        from samestream.monitors.continuous_parity import ParityWorker, watched_models

        monitors = list(app.monitors.values())
        if not watched_models(monitors)[0]:
            return []
        return [ParityWorker(transport, plan, monitors, FeatureLog(log_root))]
    raise SettingsError(
        "no such role",
        where="samestream run",
        found=role,
        expected=", ".join(ROLES),
        hint="leave roles out to run them all.",
    )
