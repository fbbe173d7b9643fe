"""Outcomes: every prediction joined with what then happened (DESIGN section 2, Models and labels).

A label counts for a prediction when it lies in ``(event time, event time + horizon]`` and carries the trigger's key. The first
value that is not null wins; a later, different one is a correction. When the label topic's watermark has passed the horizon
and no label came, the outcome is unlabelled. Which state a prediction ends in depends on the logs alone, not on which of the
two topics was read first.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.schemas.errors import RecoveryError
from samestream.streams import columns as cols
from samestream.streams.engine import evaluate, value_arrays
from samestream.streams.engine.clock import NEVER_US, Clocks
from samestream.streams.engine.order import Batch
from samestream.streams.engine.snapshots import code_of
from samestream.streams.engine.task import Emitted
from samestream.streams.engine.value_arrays import Arrays
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Outgoing, Partition
from samestream.streams.wire.decode import vector_input
from samestream.streams.wire.encode import encode_key

_CODEC = Codec(records.OUTCOME)
_CARRIED = (
    "entity",
    "event_time",
    "trigger_topic",
    "trigger_partition",
    "trigger_offset",
    "version",
    "score",
    "value",
)
_KEPT = ("_open", "_closing", "_seen", "_forgetting", "_count", "_newest_prediction_us", "_marks_us")
_WALKED_BYTES = 10_000
Value = float | str  # of a label: a number (1 or 0 for a condition), or a class


@dataclass(slots=True)
class _Open:
    """A prediction whose horizon is not over."""

    record: dict[str, Any]
    event_time_us: int
    label: Value | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """A label value that was applied."""

    value: Value
    time_us: int
    known_us: int


class OutcomeTask:
    """Joins one model's predictions with its labels. See `processor.Task`."""

    query_lag_us = 0
    memory_us = None  # predictions may lag behind labels by any amount, so recovery replays the whole journal

    def __init__(self, plan: Plan, model: ModelPlan) -> None:
        self.name = f"outcomes.{model.name}"
        self.fingerprint = plan.fingerprint
        self._model, self._label = model, model.label
        labels = plan.events[self._label.event]
        self._labels_topic = labels.topic
        assert labels.gate is not None
        self._lateness_us = labels.gate.lateness_us
        trigger = plan.events[model.trigger].gate
        assert trigger is not None
        # how far behind the newest prediction another one may still come, and its label a horizon later
        self._trigger_lag_us = trigger.lateness_us + trigger.alignment_us + self._label.within_us
        self.inputs = (vector_input("predictions", model.topics["predictions"], records.PREDICTION), labels)
        self.owned = frozenset({labels.name} if plan.gatekeeper(labels.name) == self.name else ())
        self._open: dict[str, list[_Open]] = {}
        self._closing: list[tuple[int, int, str]] = []
        self._seen: dict[str, list[_Seen]] = {}
        self._forgetting: list[tuple[int, str]] = []
        self._count = 0
        self._newest_prediction_us = NEVER_US
        self._marks_us: dict[Partition, int] = {}

    def process(self, batch: Batch, clocks: Clocks) -> Emitted:
        """Apply a judged batch."""
        out: list[Outgoing] = []
        for part in batch.partitions:
            if part.topic == self._labels_topic:
                self._marks_us.setdefault(part, NEVER_US)
        for place, what, row in self._merged(batch):
            known_us = int(batch.known_us[place])
            if what == "prediction":
                self._predict(row, known_us, out)
            else:
                key, value = row
                time_us, part = int(batch.time_us[place]), batch.partitions[int(batch.partition[place])]
                if value is not None:
                    self._observe(key, _Seen(value, time_us, known_us), out)
                self._marks_us[part] = max(self._marks_us[part], time_us)
            self._close(known_us, out)
        return Emitted(out, len(out))

    def recall(self, switches: Sequence[str]) -> None:
        """The join has no switches."""

    def absorb(self, batch: Batch, clocks: Clocks) -> None:
        """Apply a judged batch whose outcomes were written before."""
        self.process(batch, clocks)

    @property
    def layout(self) -> str:
        """By the code that keeps it."""
        return code_of(sys.modules[__name__], value_arrays)

    def state(self) -> Arrays:
        """Open predictions, labels that may still count, and how far both have come."""
        return value_arrays.pack({name: getattr(self, name) for name in _KEPT})

    def state_bytes(self) -> int:
        """What Python has to walk through, by the time that takes."""
        return _WALKED_BYTES * (len(self._closing) + len(self._forgetting))

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take up a state, all of it or nothing."""
        kept = value_arrays.unpack(arrays)
        if not isinstance(kept, dict) or kept.keys() != set(_KEPT):
            raise RecoveryError("a state is not of this join", where=self.name, found=list(kept), expected=_KEPT)
        for name, value in kept.items():
            setattr(self, name, value)

    def _merged(self, batch: Batch) -> list[tuple[int, str, Any]]:
        places, predictions = batch.applied("predictions")
        names = [name for name in predictions if name not in ("model", "fingerprint")]
        rows = zip(*(cols.to_python(predictions[name]) for name in names), strict=True)
        found: list[tuple[int, str, Any]] = [
            (place, "prediction", dict(zip(names, row, strict=True)))
            for place, row in zip(places.tolist(), rows, strict=True)
        ]
        places, labels = batch.applied(self._label.event)
        value = evaluate.evaluate(self._label.value, labels, len(places))
        keys, there = labels[self._label.by].values.tolist(), value.valid & labels[self._label.by].valid
        seen = value.values.tolist() if self._model.output == "class" else value.values.astype(np.float64).tolist()
        for row, place in enumerate(places.tolist()):
            found.append((place, "label", (str(keys[row]), seen[row] if there[row] else None)))
        found.sort(key=lambda item: item[0])
        return found

    def _predict(self, record: dict[str, Any], known_us: int, out: list[Outgoing]) -> None:
        key, event_time_us = str(record["entity"]), record["event_time"]
        self._newest_prediction_us = max(self._newest_prediction_us, event_time_us)
        prediction = _Open(record, event_time_us)
        self._open.setdefault(key, []).append(prediction)
        self._count += 1
        heapq.heappush(self._closing, (event_time_us + self._label.within_us, self._count, key))
        for seen in self._seen.get(key, ()):
            self._join(prediction, seen, max(known_us, seen.known_us), out)

    def _observe(self, key: str, seen: _Seen, out: list[Outgoing]) -> None:
        self._seen.setdefault(key, []).append(seen)
        heapq.heappush(self._forgetting, (seen.time_us, key))
        for prediction in self._open.get(key, ()):
            self._join(prediction, seen, seen.known_us, out)

    def _join(self, prediction: _Open, seen: _Seen, known_us: int, out: list[Outgoing]) -> None:
        if not prediction.event_time_us < seen.time_us <= prediction.event_time_us + self._label.within_us:
            return
        if prediction.label is None or prediction.label != seen.value:
            state = "labelled" if prediction.label is None else "correction"
            prediction.label = seen.value
            out.append(self._outcome(prediction, state, seen, known_us))

    def _close(self, known_us: int, out: list[Outgoing]) -> None:
        """Close the horizons that every label partition has passed, and forget labels that nothing can reach any more."""
        # no label older than this will be applied any more
        watermark_us = min(self._marks_us.values(), default=NEVER_US) - self._lateness_us
        while self._closing and self._closing[0][0] < watermark_us:
            closes_us, _, key = heapq.heappop(self._closing)
            kept = []
            for prediction in self._open.get(key, []):
                if prediction.event_time_us + self._label.within_us > closes_us:
                    kept.append(prediction)
                elif prediction.label is None:
                    out.append(self._outcome(prediction, "unlabelled", None, known_us))
            if kept:
                self._open[key] = kept
            else:
                self._open.pop(key, None)
        # a label is kept until predictions have come so far that none to come can reach back to it
        horizon_us = self._newest_prediction_us - self._trigger_lag_us
        while self._forgetting and self._forgetting[0][0] < horizon_us:
            _, key = heapq.heappop(self._forgetting)
            kept_labels = [seen for seen in self._seen.get(key, []) if seen.time_us >= horizon_us]
            if kept_labels:
                self._seen[key] = kept_labels
            else:
                self._seen.pop(key, None)

    def _outcome(self, prediction: _Open, state: str, seen: _Seen | None, known_us: int) -> Outgoing:
        entity = prediction.record["entity"]
        value = {name: prediction.record[name] for name in _CARRIED} | {"state": state}
        if seen is not None:
            value |= {"label_time": seen.time_us, "label_known_time": seen.known_us}
            if isinstance(seen.value, str):
                chances = prediction.record["probabilities"]
                # a class that the model does not know has no probability
                given = None if chances is None else chances.get(seen.value, 0.0)
                value |= {"label_value": seen.value, "label_probability": given}
            else:
                value |= {"label": seen.value}
        return Outgoing(self._model.topics["outcomes"], encode_key(entity), _CODEC.encode(value), max(known_us, 1000))
