"""The scorer: one prediction per vector, by the model that applies at the vector's known time.

The models topic is merged with the vectors in the same order, so a switch has one place in the stream, which the journal
keeps; no restart is needed for a new champion.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.schemas.errors import ArtifactError
from samestream.streams.columns import Columns, Float64Array, Int64Array
from samestream.streams.engine import value_arrays
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.measures import Measure, foreign_vectors
from samestream.streams.engine.order import Batch
from samestream.streams.engine.task import Emitted
from samestream.streams.engine.value_arrays import Arrays
from samestream.streams.models import artifact
from samestream.streams.models.model_registry import CHAMPION, registry_input
from samestream.streams.models.prediction_age import PredictionAge
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Outgoing
from samestream.streams.wire.decode import vector_input
from samestream.streams.wire.encode import encode_key

log = logging.getLogger("samestream")
_CODEC = Codec(records.PREDICTION)


class ScorerTask:
    """Scores one model's vectors. Vectors known before the first model applies are passed over. See `processor.Task`."""

    owned: frozenset[str] = frozenset()
    memory_us = 0
    query_lag_us = 0

    def __init__(
        self, plan: Plan, model: ModelPlan, load: Callable[[str, str], artifact.Artifact] = artifact.load
    ) -> None:
        """`load` finds the artifact of a URI and digest."""
        self._load_artifact = load
        self.name = f"scorer.{model.name}"
        self.fingerprint = plan.fingerprint
        self._model = model
        self.inputs = (
            vector_input("vectors", model.topics["features"], model.vector_schema),
            registry_input(plan.registry),
        )
        self._age = PredictionAge(model.name)
        self._foreign = self._unmodelled = 0  # vectors that were passed over
        self._current: artifact.Artifact | None = None
        self._said: str | None = None  # the switch to it, as the journal has it

    def process(self, batch: Batch, clocks: Clocks) -> Emitted:
        """Apply a judged batch."""
        places, vectors = batch.applied("vectors")
        switch_places, switches = batch.applied("models")
        out: list[Outgoing] = []
        journaled: list[str] = []
        start = 0
        for place, record in zip(switch_places.tolist(), _rows(switches), strict=True):
            if record["model"] != self._model.name or record["slot"] != CHAMPION:
                continue
            stop = int(np.searchsorted(places, place))
            out += self._score(batch, places[start:stop], vectors, slice(start, stop))
            start = stop
            if self._switch(record):
                journaled.append(self._said or "")
        out += self._score(batch, places[start:], vectors, slice(start, len(places)))
        return Emitted(out, len(out), tuple(journaled))

    def measures(self) -> Iterable[Measure]:
        """How old vectors are when they are scored, and how many were not."""
        yield from self._age.measures()
        yield foreign_vectors(self.name, self._model.name, self._foreign)
        says = "Vectors that came while no model applied, which are not scored."
        yield Measure("vectors_without_model_total", says, {"model": self._model.name}, self._unmodelled, "counter")

    def recall(self, switches: Sequence[str]) -> None:
        """Take up the last model that the journal names. Raises ArtifactError: to go on without it would drop vectors.

        One that answers another question, because the label was changed since, is let go: a restart must not hang on it.
        """
        for switch in switches[-1:]:
            self._said = switch
            loaded = self._load(json.loads(switch))
            try:
                self._check_output(loaded)
            except ArtifactError as error:
                log.error("%s: vectors are passed over until a model fits. %s", self.name, error.line)
            else:
                self._current = loaded

    def absorb(self, batch: Batch, clocks: Clocks) -> None:
        """Take up the switches of a batch whose predictions were written before."""
        _, switches = batch.applied("models")
        for record in _rows(switches):
            if record["model"] == self._model.name and record["slot"] == CHAMPION:
                self._switch(record)

    @property
    def layout(self) -> str:
        """The switch alone."""
        return "1"

    def state(self) -> Arrays:
        """The switch to the model that applies."""
        return value_arrays.pack(self._said)

    def state_bytes(self) -> int:
        """Next to nothing."""
        return len(self._said or "")

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take up the model that applied."""
        said = value_arrays.unpack(arrays)
        self.recall([said] if said is not None else [])

    def _switch(self, record: Mapping[str, Any]) -> bool:
        """Take up a new champion. One that cannot be trusted is refused, and the old one stays."""
        try:
            loaded = self._load(record)
            self._check_output(loaded)
        except ArtifactError as error:
            log.error(
                "%s: refused model version %s; the previous one stays. %s", self.name, record["version"], error.line
            )
            return False
        self._current, self._said = loaded, json.dumps(record, sort_keys=True)
        log.info("%s: version %s applies from now on", self.name, record["version"])
        return True

    def _load(self, record: Mapping[str, Any]) -> artifact.Artifact:
        """The artifact that a record of the models topic names, ready to score. Raises ArtifactError."""
        loaded = self._load_artifact(record["artifact"], record["digest"])
        loaded.predictor()
        if loaded.fingerprint != self._model.fingerprint:
            log.error(
                "%s: version %s was trained on another definition (%s, now %s): only vectors of that one are scored."
                " Hint: train again with `samestream train`.",
                self.name,
                loaded.version,
                loaded.fingerprint,
                self._model.fingerprint,
            )
        return loaded

    def _check_output(self, loaded: artifact.Artifact) -> None:
        if loaded.output != self._model.output:
            raise ArtifactError(
                "the artifact gives something else than the model declares",
                where=f"{loaded.model} {loaded.version}",
                found=f"a {loaded.output}",
                expected=f"a {self._model.output}, as the kind of label {self._model.label.name} says",
                hint="the label was changed: train again with `samestream train`.",
            )

    def _can_read(self, current: artifact.Artifact, vectors: Columns) -> bool:
        """Whether vectors hold what an artifact reads. One of a former definition may ask for what is no longer there."""
        texts = {name for name, column in vectors.items() if column.is_object}
        asked = set(current.inputs)
        return asked <= set(self._model.outputs) and asked & texts == set(current.categories)

    def _score(self, batch: Batch, places: Int64Array, vectors: Columns, rows: slice) -> Iterator[Outgoing]:
        current = self._current
        if current is None:
            self._unmodelled += len(places)
            return
        # a vector of another definition has features of the same names, but they mean something else
        fitting = (vectors["fingerprint"].values[rows] == current.fingerprint) & self._can_read(current, vectors)
        if not fitting.all():
            passed_over = int((~fitting).sum())
            self._foreign += passed_over
            log.warning("%s: %d vectors of another definition are not scored", self.name, passed_over)
            chosen = np.flatnonzero(fitting)
            places, vectors = places[chosen], {name: column.take(rows).take(chosen) for name, column in vectors.items()}
            rows = slice(0, len(chosen))
        if not len(places):
            return
        matrix = current.encoding.matrix({name: vectors[name].take(rows) for name in current.inputs})
        names = ("entity", "event_time", "trigger_topic", "trigger_partition", "trigger_offset", "fingerprint")
        identity = [vectors[name].values[rows].tolist() for name in names]
        topic = self._model.topics["predictions"]
        self._age.note(batch.known_us[places], vectors["event_time"].values[rows])
        for known_us, said, row in zip(
            batch.known_us[places].tolist(), _said(current, matrix), zip(*identity, strict=True), strict=True
        ):
            value = dict(zip(names, row, strict=True))
            value |= {"model": current.model, "version": current.version, **said}
            yield Outgoing(topic, encode_key(value["entity"]), _CODEC.encode(value), known_us)


def _said(model: artifact.Artifact, matrix: Float64Array) -> Iterator[dict[str, Any]]:
    """What the model says of each row, as fields of a prediction; nothing of one that no number can score."""
    predictor = model.predictor()
    if model.output != "class":
        for score in predictor.predict(matrix).tolist():
            yield {"score": None if math.isnan(score) else score}
        return
    chances = predictor.chances(matrix)
    for winner, row in zip(chances.argmax(axis=1).tolist(), chances.tolist(), strict=True):
        if math.isnan(row[winner]):
            yield {"score": None}
        else:
            probabilities = dict(zip(model.classes, row, strict=True))
            yield {"score": row[winner], "value": model.classes[winner], "probabilities": probabilities}


def _rows(columns: Columns) -> Iterator[dict[str, Any]]:
    names = list(columns)
    for row in zip(*(columns[name].values.tolist() for name in names), strict=True):
        yield dict(zip(names, row, strict=True))
