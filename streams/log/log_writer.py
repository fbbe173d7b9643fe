"""Writes an app's topics to the feature log: raw events, vectors, predictions, outcomes, and the journal that ranks the events."""

from __future__ import annotations

import threading
import time

import numpy as np
import pyarrow as pa

from samestream.schemas import records
from samestream.schemas.errors import TransportError
from samestream.streams import columns as cols
from samestream.streams.engine.processor import Health
from samestream.streams.log import logged_journal, rewriting
from samestream.streams.log.feature_log import KEY_SCHEMA, FeatureLog, TopicLog
from samestream.streams.log.key_sample import WHOLE, in_sample
from samestream.streams.log.logged_columns import defaults_of
from samestream.streams.plan import Input, Plan
from samestream.streams.transport import EARLIEST, Fetched, Partition, Transport
from samestream.streams.wire.decode import UNKNOWN_KNOWN_US, Decoded, Decoder, vector_input
from samestream.streams.wire.schema_store import SchemaStore

_CLEAR_S = 3600.0
"""How often files that were replaced are looked for: for that, all are listed."""


def logged_inputs(plan: Plan) -> list[Input]:
    """Every topic whose records are logged field by field, and how it is read."""
    found = list(plan.events.values())
    for model in plan.models.values():
        found.append(vector_input(f"{model.name}.features", model.topics["features"], model.vector_schema))
        found.append(vector_input(f"{model.name}.predictions", model.topics["predictions"], records.PREDICTION))
        found.append(vector_input(f"{model.name}.outcomes", model.topics["outcomes"], records.OUTCOME))
    return found


def logged_topics(plan: Plan) -> list[str]:
    """Every topic that is logged; the journal's records as they are."""
    return [*(part.topic for part in logged_inputs(plan)), plan.journal]


class LogWriter:
    """Copies committed records to Parquet, every offset exactly once, through restarts and kills.

    Dead events have no row: their bytes are in the `.dead` topic. The journal goes along: it says of every event in which place
    it was merged, and whether it was applied (`judged_log`).
    A batch of a topic is written when it holds ``batch_rows`` rows, or when its oldest row has waited ``flush_s`` seconds.
    Once a topic has ``compact_batches`` batches, its small files are put together; what that replaced is removed an hour later.

    sample : the share of keys whose vectors, predictions and outcomes are logged (`key_sample`). Events are logged whole: the
        features of one key are made of the events of others.
    """

    def __init__(
        self,
        transport: Transport,
        plan: Plan,
        log: FeatureLog,
        store: SchemaStore,
        *,
        batch_rows: int = 50_000,
        flush_s: float = 1.0,
        compact_batches: int = 64,
        sample: float = 1.0,
    ) -> None:
        self.health = Health("log")
        self._transport, self._batch_rows, self._flush_s = transport, batch_rows, flush_s
        self._inputs = {part.topic: part for part in logged_inputs(plan)}
        self._decoders = {topic: Decoder(part, store) for topic, part in self._inputs.items()}
        self._log, self._compact_batches = log, compact_batches
        self._events = sorted(part.topic for part in plan.events.values())
        self._topics, self._journal = logged_topics(plan), plan.journal
        self._samples = {topic: 1.0 if topic in {*self._events, plan.journal} else sample for topic in self._topics}
        self._logs = self._opened()
        self._cleared: dict[str, float] = {}
        self._held: dict[str, list[Decoded]] = {topic: [] for topic in self._inputs}
        self._entries: list[Fetched] = []
        self._since: dict[str, float] = {}

    def run(self, stop: threading.Event) -> None:
        """Write until ``stop`` is set, then write what is held."""
        reader = self._transport.reader()
        self._logs = self._opened()  # another process may have written while this one stood by
        try:
            counts = self._transport.topics()
            missing = [topic for topic in self._topics if topic not in counts]
            if missing:
                raise TransportError(
                    "topics are missing",
                    where="log",
                    found=", ".join(missing),
                    hint="create them with `samestream apply MODULE`.",
                )
            positions = {
                Partition(topic, number): EARLIEST for topic in self._topics for number in range(counts[topic])
            }
            done = {
                Partition(topic, number): offset
                for topic, topic_log in self._logs.items()
                for number, offset in topic_log.next_offsets().items()
            }
            starts = self._transport.starts(positions)
            self._next = {partition: done.get(partition, starts[partition]) for partition in positions}
            self._note_empty({partition for partition in positions if partition not in done}, starts)
            reader.assign(self._next)
            self.health.state = "running"
            while not stop.is_set():
                self._take(reader.fetch(self._batch_rows, 0.2))
                self._flush(reader.next_offsets(), due_only=True)
            self._flush(reader.next_offsets(), due_only=False)
            self.health.state = "stopped"
        finally:
            reader.close()

    def _opened(self) -> dict[str, TopicLog]:
        logs = {
            topic: self._log.writer(topic, defaults_of(part), self._samples[topic])
            for topic, part in self._inputs.items()
        }
        return {**logs, self._journal: self._log.writer(self._journal)}

    def _note_empty(self, unlogged: set[Partition], starts: dict[Partition, int]) -> None:
        """Let the log say of event topics that hold nothing that they do: else nobody could tell them from topics that it lacks."""
        ends = self._transport.ends(unlogged) if unlogged else {}
        for topic in self._events:
            parts = {part.partition: starts[part] for part in unlogged if part.topic == topic}
            if parts and all(ends[Partition(topic, number)].high == start for number, start in parts.items()):
                input = self._inputs[topic]
                types = {name: cols.arrow_type(kind, input.items.get(name)) for name, kind in input.columns.items()}
                nothing = pa.schema(
                    [*KEY_SCHEMA, *(pa.field(name, type) for name, type in types.items())]
                ).empty_table()
                self._logs[topic].append(nothing, {number: (start, start) for number, start in parts.items()})

    def _take(self, fetched: list[Fetched]) -> None:
        for part in fetched:
            topic = part.partition.topic
            if topic == self._journal:
                self._entries.append(part)
            else:
                self._held[topic].append(self._decoders[topic].decode(part, UNKNOWN_KNOWN_US))
            self._since.setdefault(topic, time.monotonic())
            self.health.events += len(part)

    def _flush(self, next_offsets: dict[Partition, int], due_only: bool) -> None:
        now = time.monotonic()
        for topic in self._topics:
            held = self._entries if topic == self._journal else self._held[topic]
            rows = sum(map(len, held))
            due = rows >= self._batch_rows or (topic in self._since and now - self._since[topic] >= self._flush_s)
            if not held or (due_only and not due):
                continue
            ranges = {
                partition.partition: (self._next[partition], offset)
                for partition, offset in next_offsets.items()
                if partition.topic == topic and offset > self._next[partition]
            }
            is_journal = topic == self._journal
            table = (
                logged_journal.to_arrow(self._entries)
                if is_journal
                else to_arrow(self._inputs[topic], self._held[topic])
            )
            if self._samples[topic] < WHOLE:
                table = table.filter(pa.array(in_sample(table["_key"].to_pylist(), self._samples[topic])))
            self._logs[topic].append(table, ranges)
            self._compact(topic)
            self._next.update({Partition(topic, number): end for number, (_, end) in ranges.items()})
            if is_journal:
                self._entries = []
            else:
                self._held[topic] = []
            self._since.pop(topic, None)
            self.health.batches += 1
            self.health.results += rows

    def _compact(self, topic: str) -> None:
        """Put a topic's files together when they have become many."""
        if self._logs[topic].since_base < self._compact_batches:
            return
        rewriting.compact(self._log, topic)
        self._logs[topic].refresh()
        now = time.monotonic()
        if now - self._cleared.get(topic, -_CLEAR_S) >= _CLEAR_S:
            self._cleared[topic] = now
            rewriting.clear(self._log, topic)


def to_arrow(input: Input, held: list[Decoded]) -> pa.Table:
    """Decoded records as a table of the log: where each lay, when it was known, its key, its columns; dead ones left out."""
    good = [~part.dead for part in held]
    stamps = np.concatenate([part.stamps_us[keep] for part, keep in zip(held, good, strict=True)])
    table = {
        "_partition": pa.array(
            np.concatenate(
                [
                    np.full(int(keep.sum()), part.partition.partition, np.int32)
                    for part, keep in zip(held, good, strict=True)
                ]
            )
        ),
        "_offset": pa.array(np.concatenate([part.offsets[keep] for part, keep in zip(held, good, strict=True)])),
        "_known": pa.array(stamps).cast(pa.timestamp("us", "UTC")),
        "_key": pa.array(
            [
                key
                for part, keep in zip(held, good, strict=True)
                for key, there in zip(part.keys, keep.tolist(), strict=True)
                if there
            ],
            pa.binary(),
        ),
    }
    for name, kind in input.columns.items():
        column = cols.concatenate([part.columns[name].take(keep) for part, keep in zip(held, good, strict=True)])
        table[name] = cols.to_arrow(column, kind, input.items.get(name))
    return pa.table(table)
