"""`samestream demo`: the whole idea on real flights, on genuine Kafka, every hop through topics.

Month 1 is released, features are computed and logged, a model is trained and published; only then the later months are
released and scored live. Labels join late, monitors watch, and in the end a fresh process checks online against offline.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samestream.console.demo_cluster import Cluster
from samestream.console.journal_tail import JournalTail
from samestream.examples import faults, flights_data, producing
from samestream.schemas import app as apps
from samestream.schemas.errors import SamestreamError, SettingsError
from samestream.streams.deploy import provision
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Transport

MODULE = Path(flights_data.__file__).with_name("flights.py")
MODEL = "LateArrival"
_POLL_S = 0.25
_PATIENCE_S = 180.0

Say = Callable[[str], None]


@dataclass
class Demo:
    """One run of the demo on a cluster that is up, with its roles running."""

    cluster: Cluster
    months: Sequence[int]
    fault: str
    say: Say
    sent: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.app = apps.load(str(MODULE))
        self.plan: Plan = compile_app(self.app)
        self.model: ModelPlan = self.plan.models[MODEL]
        self.transport: Transport = self.cluster.transport
        self.log = FeatureLog(self.cluster.log_root)
        self.tail = JournalTail(self.transport, self.plan.journal)

    def run(self) -> dict[str, Any]:
        """Everything from the topics to the summary. Raises SamestreamError when a step does not finish."""
        self._refuse_leftovers()
        provision.provision(self.transport, self.app, self.plan)
        self.cluster.start_roles(MODULE)
        self.say(f"topics and schemas are in place; processor pid {self.cluster.pid('features')}")
        batches = faults.inject(
            self.fault, flights_data.load(list(self.months)), faults.default_start_us(list(self.months))
        )
        releases = flights_data.releases(batches, list(self.months))
        trained = None
        for number, release in enumerate(releases):
            self._release(release, f"month {self.months[number]}")
            self._await("features", self._features_done)
            self._await("outcomes", self._outcomes_done)
            self._await("feature log", self._log_done)
            if number == 0:
                trained = self._train()
        self._await("monitors", self._monitors_done)
        parity = self.cluster.parity(MODULE)
        return self._summary(trained, parity[MODEL])

    def _refuse_leftovers(self) -> None:
        left = [name for name in self.transport.topics() if name.split(".")[0] == self.plan.app]
        if left:
            raise SettingsError(
                "this cluster already holds topics of the app, and the demo counts from zero",
                where="samestream demo",
                found=f"{len(left)} topics such as {left[0]}",
                hint="leave --bootstrap out to use a broker of the demo's own, or delete those topics first.",
            )

    def _release(self, release: Mapping[str, Any], name: str) -> None:
        started = time.monotonic()
        sent = producing.produce(self.transport, self.plan, release)
        for topic, count in sent.items():
            self.sent[topic] = self.sent.get(topic, 0) + count
        total = sum(sent.values())
        self.say(f"{name}: {total:,} events released in {time.monotonic() - started:.1f} s")

    def _train(self) -> dict[str, Any]:
        from samestream.trainers.train import train

        started = time.monotonic()
        trained = train(self.plan, self.model, self.log, self.transport, self.cluster.artifacts)
        auc = trained.metrics.get("holdout_auc", float("nan"))
        self.say(
            f"trained on {trained.rows:,} labelled vectors in {time.monotonic() - started:.1f} s"
            f" (held-out AUC {auc:.3f}); version {trained.version.version} published"
        )
        return {"trained_rows": trained.rows, "base_rate": trained.metrics["base_rate"]}

    # What "done" means: the journals say that everything sent so far has been judged ------------------------
    def _await(self, what: str, progress: Callable[[], tuple[int, int]]) -> None:
        """Poll until done, telling events/s and time left every few seconds; what does not move for long is an error."""
        started = moved = told = time.monotonic()
        last, began = -1, None
        while True:
            self.cluster.check()
            self.tail.poll()
            done, total = progress()
            now = time.monotonic()
            began = done if began is None else began
            if done >= total:
                self.say(f"  {what}: {done:,} in all, done after {now - started:.1f} s")
                return
            if done != last:
                last, moved = done, now
            if now - told > 3:
                rate = (done - began) / max(now - started, 1e-9)
                left = f", {(total - done) / rate:,.0f} s left" if rate else ""
                self.say(f"  {what}: {done - began:,} of {total - began:,}, {rate:,.0f}/s{left}")
                told = now
            if now - moved > _PATIENCE_S:
                raise SamestreamError(
                    f"{what} does not move",
                    where="samestream demo",
                    found=f"{done} of {total} after {now - started:.0f} s",
                    hint=f"look at the roles' output in {self.cluster.folder}.",
                )
            time.sleep(_POLL_S)

    def _features_done(self) -> tuple[int, int]:
        topics = [part.topic for part in self.plan.inputs.values()]
        return sum(self.tail.read("features", topic) for topic in topics), sum(
            self.sent.get(topic, 0) for topic in topics
        )

    def _outcomes_done(self) -> tuple[int, int]:
        vectors = self.tail.results.get("features", 0)
        predictions = self.tail.results.get(f"scorer.{MODEL}", 0)
        labels = self.plan.events[self.model.label.event].topic
        done = (
            self.tail.read(f"scorer.{MODEL}", self.model.topics["features"])
            + self.tail.read(f"outcomes.{MODEL}", self.model.topics["predictions"])
            + self.tail.read(f"outcomes.{MODEL}", labels)
        )
        return done, vectors + predictions + self.sent.get(labels, 0)

    def _log_done(self) -> tuple[int, int]:
        missing = 0
        for partition, end in self.tail.furthest().items():
            if partition.topic in (self.plan.registry, self.plan.drift, self.plan.pulse):  # these are not logged
                continue
            missing += max(0, end - self.log.offsets(partition.topic).get(partition.partition, 0))
        total = sum(self.sent.values())
        return total - missing, total

    def _monitors_done(self) -> tuple[int, int]:
        name = f"monitor.{MODEL}"
        topics = {event for pairs in self.model.lineage.values() for event, _ in pairs} | {self.model.trigger}
        done = sum(self.tail.read(name, self.plan.events[event].topic) for event in topics)
        done += self.tail.read(name, self.model.topics["features"]) + self.tail.read(
            name, self.model.topics["predictions"]
        )
        total = sum(self.sent.get(self.plan.events[event].topic, 0) for event in topics)
        total += self.tail.results.get("features", 0) + self.tail.results.get(f"scorer.{MODEL}", 0)
        # labels are watched by a monitor of their own
        done += self.tail.read(f"{name}.outcomes", self.model.topics["outcomes"])
        return done, total + self.tail.results.get(f"outcomes.{MODEL}", 0)

    # The summary ---------------------------------------------------------------------------------------
    def _summary(self, trained: dict[str, Any] | None, parity: Mapping[str, Any]) -> dict[str, Any]:
        from samestream.console.demo_report import incidents, outcome_figures

        figures = outcome_figures(self.transport, self.model.topics["outcomes"], trained)
        predictions = self.tail.results.get(f"scorer.{MODEL}", 0)
        judged = self.tail.balances
        events = {}
        for event in self.plan.events.values():
            balance = judged.get(self.plan.gatekeeper(event.name), {}).get(event.topic)
            events[event.topic] = {
                "produced": self._count(event.topic),
                "applied": balance.applied if balance else 0,
                "late": balance.late if balance else 0,
                "dead": balance.dead if balance else 0,
            }
        outcomes = figures.pop("outcomes")
        outcomes["pending"] = predictions - outcomes["labelled"] - outcomes["unlabelled"]
        return {
            "broker": {"kind": self.transport.kind, "version": self.cluster.broker_version},
            "months": list(self.months),
            "fault": self.fault,
            "events": events,
            "vectors": self.tail.results.get("features", 0),
            "predictions": predictions,
            "outcomes": outcomes,
            "model": figures | {"trained_rows": trained["trained_rows"] if trained else 0},
            "parity": {
                name: parity[name] for name in ("compared", "mismatched", "as_known_mismatched", "lateness_skewed")
            },
            "incidents": incidents(self.transport, self.plan.drift),
        }

    def _count(self, topic: str) -> int:
        """Records that the topic holds, counted one by one: independent of what any processor says."""
        return sum(len(fetched) for fetched in self.transport.read_all(topic))


@contextmanager
def _stopping_once(say: Say) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the demo cleanly; impatient further ones do not end the cleaning up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[int] = []

    def stop(number: int, _: object) -> None:
        told.append(number)
        if len(told) > 1:
            say("still cleaning up, a moment")
            return
        say("stopping: the roles and the broker are ended and their data removed, which takes a few seconds")
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_demo(
    months: Sequence[int],
    fault: str,
    summary: Path | None,
    folder: Path,
    bootstrap: str | None,
    keep: bool,
    properties: Mapping[str, str],
    say: Say,
) -> dict[str, Any]:
    """Run the demo from nothing to the report; whatever was started is stopped again, also after an error or a signal."""
    started = time.monotonic()
    with _stopping_once(say), Cluster(folder, bootstrap, properties, keep=keep, say=say) as cluster:
        found = Demo(cluster, months, fault, say).run()
    found["seconds"] = round(time.monotonic() - started, 1)
    if summary is not None:
        summary.write_text(json.dumps(found, indent=2) + "\n")
    return found
