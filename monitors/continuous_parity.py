"""Parity while the system runs: everything served is compared with its replay within seconds, and with SQL within minutes.

A role of its own, from empty state: it follows the feature processor's journal through the kernel and holds each vector
against the served record, byte for byte. Once the feature log has come as far, the same vectors are computed in SQL as they
were known, and, when what is merely late has come, as an ideal observer would have.

What it writes, and how far it has come, is one transaction: killed anywhere, it compares again what it had not committed,
and no incident opens twice. How far it has come and what it found lie in its journal entries.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from samestream.monitors.declared import Parity
from samestream.monitors.events_behind import events_behind
from samestream.monitors.incidents import IncidentRecord
from samestream.monitors.journal_follower import JournalFollower
from samestream.monitors.parity_figures import PathFigures
from samestream.monitors.parity_incident import AS_KNOWN, REPLAY, SKEW, ParityIncidents, open_incidents
from samestream.monitors.recent_sql import RecentSql
from samestream.monitors.task import record_of
from samestream.monitors.vector_stream import VectorStream
from samestream.schemas.errors import FeatureLogError, RecoveryError, SamestreamError
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.clock import NEVER_US
from samestream.streams.engine.journal import Entry, Range
from samestream.streams.engine.measures import Measure
from samestream.streams.engine.processor import Health
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Partition, Transport, partition_of

log = logging.getLogger("samestream")
NAME = "parity"
_CHUNK_RECORDS = 50_000
_COMMIT_S, _HEARTBEAT_S = 30.0, 5.0
_SQL_SHARE = 5
"""SQL rests so many times as long as it last took."""
_TRACE_S = 5.0
"""So often it is tried to tell the events behind vectors of an incident, for which the log had not come far enough."""
_HIDDEN_S = 75.0  # a broker aborts an abandoned transaction after 60 s


class ParityWorker:
    """Compares the vectors of every model for which `parity()` is declared. See `console.roles.Role`.

    interval_s : what is served is compared at most so much later, while the worker keeps up
    sql_every_s : and with SQL at most so often
    """

    def __init__(
        self,
        transport: Transport,
        plan: Plan,
        monitors: Sequence[type[Any]],
        feature_log: FeatureLog,
        *,
        interval_s: float = 1.0,
        sql_every_s: float = 30.0,
    ) -> None:
        self.health = Health(NAME)
        self._transport, self._plan, self._log = transport, plan, feature_log
        self._watched, self._sample = watched_models(monitors)
        self._interval_s, self._sql_every_s = interval_s, sql_every_s
        self._identity = f"{plan.app}.{NAME}"
        self.figures: dict[str, dict[str, PathFigures]] = {
            name: {path: PathFigures() for path in (REPLAY, AS_KNOWN, SKEW)} for name in self._watched
        }
        """What was found since the definition last changed, by model and path."""
        self._spoke_s = time.monotonic()
        self._sql_behind = 0

    def run(self, stop: threading.Event) -> None:
        """Compare until ``stop`` is set. Raises FencedError when another process takes over."""
        writer = self._transport.transactional_writer(self._identity)
        loop: _Loop | None = None
        try:
            writer.open()
            self.health.state = "recovering"
            loop = _Loop(self, writer, stop)
            self.health.state = "running"
            while not stop.is_set():
                loop.turn()
            loop.commit([])
            self.health.state = "stopped"
        finally:
            if loop is not None:
                loop.close()
            writer.close()

    def measures(self) -> Iterable[Measure]:
        """What was compared and what differs, by model, path and feature; and how long ago something was compared."""
        for model, paths in self.figures.items():
            for path, found in paths.items():
                labels = {"model": model, "path": path}
                yield Measure("parity_compared_total", "Vectors compared.", labels, found.compared, "counter")
                yield Measure("parity_mismatched_total", "Vectors that differ.", labels, found.mismatched, "counter")
                yield Measure(
                    "parity_known_time_seconds",
                    "Known time of the newest vector compared, in seconds since 1970.",
                    labels,
                    found.newest_known_us / 1e6,
                )
                for name, part in list(found.features.items()):
                    told = {**labels, "feature": name}
                    yield Measure(
                        "parity_mismatch_rate", "Share of vectors in which a feature differs.", told, part.rate
                    )
        spoken = time.monotonic() - self._spoke_s
        yield Measure("monitor_silent_seconds", "Since a monitor last looked at something.", {"monitor": NAME}, spoken)
        yield Measure("parity_waiting_batches", "Batches not yet compared in SQL.", {}, self._sql_behind)


def watched_models(monitors: Iterable[type[Any]]) -> tuple[dict[str, type[Any]], dict[str, float]]:
    """The monitors that declare parity, and the share of keys they compare, by model."""
    watched, sample = {}, {}
    for one in monitors:
        for check in one.__monitors__.features:
            if isinstance(check, Parity):
                watched[one.__monitors__.name] = one
                sample[one.__monitors__.name] = check.sample
    return watched, sample


class _Loop:
    """The state of a running worker."""

    def __init__(self, worker: ParityWorker, writer: Any, stop: threading.Event) -> None:
        self._w, self._writer, self._stop = worker, writer, stop
        plan, transport = worker._plan, worker._transport
        models: dict[str, ModelPlan] = {name: plan.models[name] for name in worker._watched}
        counts = transport.topics()
        self._partitions = [
            Partition(model.topics["features"], number)
            for model in models.values()
            for number in range(counts[model.topics["features"]])
        ]
        last = self._last_entry()
        state = json.loads(last.switches[0]) if last is not None else {}
        self._sequence = last.sequence if last is not None else 0
        self._compared: int = state.get("compared", -1)
        done = {Partition(topic, number): offset for topic, number, offset in state.get("positions", [])}
        starts = transport.starts(self._partitions)
        self._committed = {part: done.get(part, starts[part]) for part in self._partitions}
        if last is not None and last.fingerprint == plan.fingerprint:
            for name, paths in state["figures"].items():
                if name in worker.figures:
                    worker.figures[name].update({path: PathFigures.from_json(stored) for path, stored in paths.items()})
        self._sql = RecentSql(plan, worker._log, worker._sample, state.get("sql", -1), state.get("skew", -1))
        needed = min(self._compared, self._sql.done, self._sql.told)
        self._follower = JournalFollower(transport, plan, needed, self._compared)
        store = provision.store(transport, plan)
        self._streams = {
            model.topics["features"]: VectorStream(
                plan, model, store, counts[model.topics["features"]], worker._sample[name]
            )
            for name, model in models.items()
        }
        self._incidents = {
            name: ParityIncidents(transport, plan, watched, open_incidents(transport, plan.drift, name))
            for name, watched in worker._watched.items()
        }
        self._reader = transport.reader()
        self._reader.assign(self._committed)
        self._turned_s = self._committed_s = self._alive_s = time.monotonic()
        self._sql_next_s = time.monotonic() + worker._sql_every_s
        self._trace_next_s = time.monotonic() + _TRACE_S
        self._changed = False
        self._settled = True  # nothing that should have been served waits to be compared
        self._greatest_us = NEVER_US
        self._read: dict[Partition, int] = {}

    def _last_entry(self) -> Entry | None:
        """The newest of this role's entries. Another processor's open transaction may hide it: that is waited for."""
        transport, topic = self._w._transport, self._w._plan.journal
        mine = Partition(topic, partition_of(NAME.encode(), transport.topics()[topic]))
        high, until_s = transport.ends([mine])[mine].high, time.monotonic() + _HIDDEN_S
        while transport.ends([mine])[mine].stable < high and not self._stop.is_set():
            if time.monotonic() > until_s:
                raise RecoveryError(
                    "a transaction on the journal stays open, and hides what was committed behind it",
                    where=str(mine),
                    hint="find the producer that holds it open, or abort it with Kafka's transaction tool.",
                )
            self._stop.wait(0.1)
        entries = journal.read(transport, topic, NAME)
        return entries[-1] if entries else None

    def turn(self) -> None:
        """Wait for something, compare it, and commit now and then."""
        worker = self._w
        self._follower.poll(0.2)
        rest_s = self._turned_s + worker._interval_s - time.monotonic()
        if rest_s > 0:
            self._stop.wait(min(rest_s, 0.2))
            return
        self._turned_s = time.monotonic()
        records = self._compare()
        if time.monotonic() >= self._sql_next_s and not self._follower.behind:
            records += self._compare_sql()
        if time.monotonic() >= self._trace_next_s and not self._follower.behind:
            records += self._trace()
        for name, paths in worker.figures.items():
            records += self._incidents[name].calm({path: paths[path] for path in (REPLAY, AS_KNOWN)})
        worker.health.lag = self._follower.behind
        worker._sql_behind = self._sql.behind
        if records or (self._changed and time.monotonic() - self._committed_s > _COMMIT_S):
            self.commit(records)
        elif time.monotonic() - self._alive_s > _HEARTBEAT_S:
            # an idle worker, too, must learn when another one has taken over
            self._writer.begin()
            self._writer.commit(self._committed, worker._identity)
            self._alive_s = time.monotonic()

    def _compare(self) -> list[IncidentRecord]:
        """Replay what the journal has grown by, and compare it with what was served."""
        # asked after the entries were seen: whatever they served lies before these ends
        ends = self._w._transport.ends(self._partitions)
        for entry, batch, every in self._follower.follow(_CHUNK_RECORDS):
            self._sql.note(entry, batch)
            self._greatest_us = entry.greatest_us
            if entry.sequence <= self._compared:
                continue
            self._compared, self._changed, self._settled = entry.sequence, True, False
            for vectors in every:
                if vectors.model.name in self._w._watched:
                    self._streams[vectors.model.topics["features"]].expect(entry, vectors)
            self._w.health.batches += 1
            self._w.health.known_us = max((part.known_us for part in entry.ranges), default=self._w.health.known_us)
        self._read_served({part: end.high for part, end in ends.items()})
        if self._stop.is_set():
            return []  # not all that was served may have been read; the next start compares it again
        offsets = {topic: stream.next_offsets for topic, stream in self._streams.items()}
        self._sql.served(offsets)
        out = []
        for stream in self._streams.values():
            name = stream.model.name
            figures = self._w.figures[name][REPLAY]
            if stream.settle(self._follower.ends, figures):
                out += self._told(name, REPLAY, figures)
        self._settled = True
        self._w.health.events = sum(paths[REPLAY].compared for paths in self._w.figures.values())
        return out

    def _read_served(self, highs: Mapping[Partition, int]) -> None:
        """Read the features topics until everything expected has come, or up to these offsets."""
        timeout_s = 0.0
        while not self._stop.is_set():
            fetched = self._reader.fetch(10_000, timeout_s)
            for part in fetched:
                stream = self._streams[part.partition.topic]
                stream.serve(part, self._w.figures[stream.model.name][REPLAY])
                self._read[part.partition] = self._read.get(part.partition, 0) + len(part)
                self._changed = True
            waiting = False
            for stream in self._streams.values():
                waiting |= stream.match(self._w.figures[stream.model.name][REPLAY])
            reached = self._reader.next_offsets()
            behind = [part for part, high in highs.items() if reached[part] < high]
            self._w.health.stalled_by = sorted({part.topic for part in behind}) if behind and not fetched else []
            if fetched or waiting or behind:
                self._w._spoke_s = time.monotonic()
            if not behind or not waiting:
                break
            timeout_s = 0.2

    def _compare_sql(self) -> list[IncidentRecord]:
        started_s = time.monotonic()
        found = {name: (paths[AS_KNOWN], paths[SKEW]) for name, paths in self._w.figures.items()}
        out = []
        try:
            before = self._sql.done
            for name, broken in self._sql.compare(found).items():
                if broken:
                    out += self._told(name, AS_KNOWN, found[name][0])
            self._changed |= self._sql.done != before
        except FeatureLogError as error:
            log.warning("parity: not compared with SQL this time: %s", error.line)
        took_s = time.monotonic() - started_s
        self._sql_next_s = time.monotonic() + max(self._w._sql_every_s, _SQL_SHARE * took_s)
        return out

    def _told(self, name: str, path: str, figures: PathFigures) -> list[IncidentRecord]:
        """What an incident says of vectors that differ, with the events behind the first of them as far as the log has come."""
        incidents, model = self._incidents[name], self._w._plan.models[name]
        records = incidents.broken(path, figures)
        if not records:
            return []
        traced = incidents.trace(partial(self._events_behind, model))
        # one record says both: what is told now, as what it is
        return [replace(record, event=records[0].event) for record in traced] or records

    def _trace(self) -> list[IncidentRecord]:
        """Tell the events behind vectors of open incidents, once the log has come to them."""
        started_s = time.monotonic()
        out = []
        for name, incidents in self._incidents.items():
            out += incidents.trace(partial(self._events_behind, self._w._plan.models[name]))
        took_s = time.monotonic() - started_s
        self._trace_next_s = time.monotonic() + max(_TRACE_S, _SQL_SHARE * took_s)
        return out

    def _events_behind(self, model: ModelPlan, example: Mapping[str, Any]) -> Any:
        """The events behind an example; None while the log, which is written beside us, has not come to them."""
        topic, partition, offset = example["trigger"]
        feature = next((one for one in example["differs"] if one in model.outputs), None)
        if feature is None:
            return {}
        try:
            if not self._sql.is_logged((topic, partition, offset)):
                return None
            return events_behind(self._w._plan, model, feature, (topic, partition, offset), self._w._log)
        except SamestreamError as error:
            return error.line

    def commit(self, records: Sequence[IncidentRecord]) -> None:
        """Write incidents, how far the comparison has come, and what it found, in one transaction."""
        if not self._settled or not (records or self._changed):
            return
        worker, plan = self._w, self._w._plan
        positions = dict(self._committed)
        for topic, stream in self._streams.items():
            positions.update({Partition(topic, number): offset for number, offset in stream.positions().items()})
        state = {
            "compared": self._compared,
            "sql": self._sql.done,
            "skew": self._sql.told,
            "positions": [[part.topic, part.partition, offset] for part, offset in sorted(positions.items())],
            "figures": {
                name: {path: found.to_json() for path, found in paths.items()} for name, paths in worker.figures.items()
            },
        }
        known_us = max(worker.health.known_us, 1000)
        ranges = tuple(
            Range(part, self._committed[part], offset, known_us, NEVER_US, self._read.get(part, 0), 0, ())
            for part, offset in sorted(positions.items())
            if offset > self._committed[part]
        )
        self._sequence += 1
        entry = Entry(
            NAME,
            self._sequence,
            plan.fingerprint,
            self._greatest_us,
            ranges,
            (json.dumps(state, sort_keys=True),),
            len(records),
        )
        self._writer.begin()
        self._writer.send([record_of(plan.drift, record) for record in records])
        self._writer.send([entry.record(plan.journal)])
        self._writer.commit(positions, worker._identity)
        self._committed, self._changed, self._read = positions, False, {}
        self._committed_s = self._alive_s = time.monotonic()
        worker.health.results += len(records)
        for record in records:
            log.warning("%s: %s %s, see `%s`", NAME, record.verdict, record.event, record.evidence.get("command", ""))

    def close(self) -> None:
        """Release the readers."""
        self._reader.close()
        self._follower.close()
