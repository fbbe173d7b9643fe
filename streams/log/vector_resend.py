"""Replayed vectors sent to a topic of their own, at any speed; interrupted, it goes on where the topic ends."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence

from samestream.schemas.errors import TransportError
from samestream.streams.engine.columnar import Vectors
from samestream.streams.engine.feature_task import VectorEncoder
from samestream.streams.log.vector_replay import Progress
from samestream.streams.plan import Plan
from samestream.streams.transport import Outgoing, TopicSpec, Transport, partition_of


class Pace:
    """Waits until a known time is due: as fast as the log grew, times ``speed``; None for as fast as can be."""

    def __init__(
        self,
        speed: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.speed, self._clock, self._sleep = speed, clock, sleep
        self._start: tuple[float, int] | None = None

    def wait(self, known_us: int) -> None:
        """Return when it is due; the first known time asked for is due at once."""
        if self.speed is None:
            return
        if self._start is None:
            self._start = (self._clock(), known_us)
        started_s, first_us = self._start
        left_s = started_s + (known_us - first_us) / 1e6 / self.speed - self._clock()
        if left_s > 0:
            self._sleep(left_s)


class VectorResend:
    """Sends the records that were served, in the order of their known times.

    What the topic holds already must be the beginning of the same replay, partition by partition: that is not sent again.
    So a replay that was killed goes on, exactly once.

    on_progress : told the step, records sent and records in all of the entry, where they are sent at a pace
    """

    def __init__(
        self,
        transport: Transport,
        plan: Plan,
        topic: str,
        models: Sequence[str],
        from_us: int | None = None,
        to_us: int | None = None,
        pace: Pace | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        """Creates the topic if it is missing, with as many partitions as the first model's vectors have."""
        self.sent = self.held = 0
        self._topic, self._models, self._pace = topic, list(models), pace or Pace(None)
        self._on_progress = on_progress
        self._from_us, self._to_us = from_us, to_us
        counts = transport.topics()
        if topic not in counts:
            count = counts[plan.models[self._models[0]].topics["features"]]
            transport.create_topics([TopicSpec(topic, count, config={"retention.ms": "-1"})])
            counts = transport.topics()
        self._encoder = VectorEncoder(plan)
        self._before: list[list[bytes]] = [[] for _ in range(counts[topic])]
        for fetched in transport.read_all(topic):
            mine = self._before[fetched.partition.partition]
            mine += [_mark(key, value) for key, value in zip(fetched.keys, fetched.values, strict=True)]
        self._at = [0] * counts[topic]
        self._writer = transport.writer()

    def take(self, every: Sequence[Vectors]) -> None:
        """The vectors of the next journal entry. Raises TransportError where the topic holds something else."""
        records: list[Outgoing] = []
        for vectors in every:
            if vectors.model.name not in self._models:
                continue
            keep = vectors.within(self._from_us, self._to_us)
            records += [
                record for record, kept in zip(self._encoder.records(vectors), keep.tolist(), strict=True) if kept
            ]
        records.sort(key=lambda record: record.known_us)
        new = [record._replace(topic=self._topic) for record in records if not self._is_there(record)]
        if self._pace.speed is None:
            self._writer.send(new)
        else:
            for done, record in enumerate(new):
                if self._on_progress:
                    self._on_progress("send, of these vectors", done, len(new))
                self._pace.wait(record.known_us)
                self._writer.send([record])
        self.sent += len(new)

    def close(self) -> None:
        """Wait for every delivery and release the writer."""
        try:
            self._writer.flush()
        finally:
            self._writer.close()

    def _is_there(self, record: Outgoing) -> bool:
        number = partition_of(record.key or b"", len(self._before))
        place, before = self._at[number], self._before[number]
        self._at[number] += 1
        if place >= len(before):
            return False
        if before[place] != _mark(record.key, record.value):
            raise TransportError(
                "the topic holds something else than the beginning of this replay",
                where=f"--to-topic {self._topic}, partition {number}, record {place}",
                hint="name a new topic, or replay the same range of the same definition.",
            )
        self.held += 1
        return True


def _mark(key: bytes | None, value: bytes | None) -> bytes:
    return hashlib.blake2b(b"%d " % len(key or b"") + (key or b"") + (value or b""), digest_size=16).digest()
