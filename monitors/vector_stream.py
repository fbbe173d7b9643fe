"""Two streams of one model's vectors, matched while they grow: what the log says, and what was served, byte by byte."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from samestream.monitors.parity_figures import NEVER, OTHER, TWICE, WORST, PathFigures, Spell
from samestream.monitors.vector_match import Trigger, bits, trigger_of
from samestream.schemas.avro import Codec
from samestream.streams.engine.columnar import Vectors
from samestream.streams.engine.feature_task import VectorEncoder
from samestream.streams.engine.journal import Entry
from samestream.streams.log.key_sample import is_in_sample
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Fetched, Partition, partition_of
from samestream.streams.wire.schema_store import SchemaStore

Record = tuple[bytes | None, bytes | None, int]  # key, value, known time


class VectorStream:
    """What should have been served and what was, per partition of the features topic, in order.

    sample : the share of the keys that is compared
    """

    def __init__(self, plan: Plan, model: ModelPlan, store: SchemaStore, partitions: int, sample: float = 1.0) -> None:
        self.model, self.topic, self._sample = model, model.topics["features"], sample
        self._plan, self._store = plan, store
        self._codec, self._encoder = Codec(model.vector_schema), VectorEncoder(plan)
        self._mark = model.fingerprint.encode()
        self._expected: list[deque[tuple[Record, bool]]] = [deque() for _ in range(partitions)]
        self._served: list[deque[tuple[int, Record]]] = [deque() for _ in range(partitions)]
        self.next_offsets: dict[int, int] = {}
        """Per partition of the topic, the offset after everything handed over."""
        self._compared_us: list[int] = []  # known times of what was compared since the last `settle`

    def expect(self, entry: Entry, vectors: Vectors) -> None:
        """Take the vectors of a batch as the log says they are. Those of a batch of another definition may be missing."""
        required = entry.fingerprint == self._plan.fingerprint
        for record in self._encoder.records(vectors):
            assert record.key is not None
            if is_in_sample(record.key, self._sample):
                place = partition_of(record.key, len(self._expected))
                self._expected[place].append(((record.key, record.value, record.known_us), required))

    def serve(self, fetched: Fetched, figures: PathFigures) -> None:
        """Take what was served, as one partition of the topic gives it."""
        held = self._served[fetched.partition.partition]
        for offset, key, value, known_us in zip(
            fetched.offsets.tolist(), fetched.keys, fetched.values, fetched.known_us.tolist(), strict=True
        ):
            # computed vectors are in single-object encoding: what the registry's id stands for is compared, not the id
            value = self._store.single(self.topic, value) if value is not None else None
            if value is None or self._mark not in value:
                figures.other_definition += 1
            elif is_in_sample(key, self._sample):
                held.append((offset, (key, value, known_us)))
        self.next_offsets[fetched.partition.partition] = int(fetched.offsets[-1]) + 1

    def positions(self) -> dict[int, int]:
        """Per partition of the topic, the offset from which it must be read again if all that is held here is lost."""
        return {
            number: self._served[number][0][0] if self._served[number] else offset
            for number, offset in self.next_offsets.items()
        }

    def match(self, figures: PathFigures) -> bool:
        """Let go of what is equal, and in order, on both sides; whether anything expected is left."""
        left = False
        for expected, served in zip(self._expected, self._served, strict=True):
            while expected and served and expected[0][0] == served[0][1]:
                self._count(figures, served[0][1][2])
                expected.popleft()
                served.popleft()
            left |= bool(expected)
        return left

    def settle(self, ends: Mapping[Partition, int], figures: PathFigures) -> int:
        """Compare everything up to where the replay has come; how many vectors differ, are missing, or are too many.

        Everything served up to there must have been handed over. ends : per partition of the triggers' topic
        """
        broken = figures.mismatched
        self.match(figures)
        for expected, served in zip(self._expected, self._served, strict=True):
            if expected or served:
                self._explain(expected, served, ends, figures)
        for name in self.model.outputs:
            figures.feature(name).compared = figures.compared
        if figures.spell is not None:
            figures.spell.count(np.array(self._compared_us, np.int64))
        self._compared_us.clear()
        return figures.mismatched - broken

    def _count(self, figures: PathFigures, known_us: int) -> None:
        figures.compared += 1
        figures.newest_known_us = max(figures.newest_known_us, known_us)
        self._compared_us.append(known_us)

    def _explain(
        self,
        expected: deque[tuple[Record, bool]],
        served: deque[tuple[int, Record]],
        ends: Mapping[Partition, int],
        figures: PathFigures,
    ) -> None:
        """Match what is left of a partition by trigger. What is served beyond the replay stays for the next time."""
        wanted = {trigger_of(found): (record, required, found) for record, required, found in self._decoded(expected)}
        order = {trigger: number for number, trigger in enumerate(wanted)}
        seen: dict[Trigger, None] = {}
        beyond: deque[tuple[int, Record]] = deque()
        last = -1
        for offset, record in served:
            found = self._codec.decode(record[1] or b"")
            trigger = trigger_of(found)
            if trigger not in wanted and trigger[2] >= ends.get(Partition(trigger[0], trigger[1]), 0):
                beyond.append((offset, record))
                continue
            self._count(figures, record[2])
            if trigger not in wanted or trigger in seen:
                figures.doubled += 1
                self._blame(figures, found, None, record[2], [TWICE]).doubled += 1
                continue
            seen[trigger] = None
            right, _, want = wanted[trigger]
            differing = [name for name in found if bits(found[name]) != bits(want[name])]
            if not differing and (record != right or order[trigger] < last):
                differing = [OTHER]
            last = max(last, order[trigger])
            if differing:
                self._blame(figures, found, want, record[2], differing)
        for trigger, (record, required, want) in wanted.items():
            if required and trigger not in seen:
                self._count(figures, record[2])
                figures.missing += 1
                self._blame(figures, None, want, record[2], [NEVER]).missing += 1
        expected.clear()
        served.clear()
        served.extend(beyond)

    def _blame(
        self,
        figures: PathFigures,
        found: dict[str, Any] | None,
        want: dict[str, Any] | None,
        known_us: int,
        differing: list[str],
    ) -> Spell:
        spell = figures.break_at(known_us)
        told = found or want or {}
        spell.blame(str(told["entity"]))
        for name in differing:
            both = (found or {}).get(name), (want or {}).get(name)
            for part in (figures.feature(name), spell.feature(name)):
                if name in self.model.outputs:
                    part.note(*both)
                else:
                    part.mismatched += 1
        spell.show(
            {
                "entity": told["entity"],
                "trigger": list(trigger_of(told)),
                "event_time_us": told["event_time"],
                "known_us": known_us,
                "differs": {name: [(found or {}).get(name), (want or {}).get(name)] for name in differing[:WORST]},
            }
        )
        return spell

    def _decoded(self, expected: deque[tuple[Record, bool]]) -> list[tuple[Record, bool, dict[str, Any]]]:
        return [(record, required, self._codec.decode(record[1] or b"")) for record, required in expected]
