"""Backfill: vectors of the present definition over history, in which whatever was served stays as it was served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import ColumnData
from samestream.streams.deploy.declaration import Declaration
from samestream.streams.engine.columnar import Vectors
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.plan import ModelPlan
from samestream.streams.transport import position


def unchanged(now: Declaration, recorded: Sequence[Declaration], model: ModelPlan) -> dict[str, frozenset[str]]:
    """By fingerprint of a definition that served, the inputs of the model that meant the same then as now."""
    found = {model.fingerprint: frozenset(model.outputs)}
    for then in recorded:
        mark = then.models.get(model.name)
        if mark is not None and mark != model.fingerprint:
            parts = {name: f"{model.name}.{name}" for name in model.outputs}
            found[mark] = frozenset(name for name, part in parts.items() if _meaning(then, part) == _meaning(now, part))
    return found


class LoggedFeatures:
    """The logged vectors of a model, to be put over computed ones, trigger by trigger.

    kept : by fingerprint, which inputs are taken as they were served; of definitions not in it, none
    computed, taken : values by input, so far, of triggers with event time in [from_us, to_us)
    """

    def __init__(
        self,
        model: ModelPlan,
        log: FeatureLog,
        kept: Mapping[str, frozenset[str]],
        from_us: int | None = None,
        to_us: int | None = None,
    ) -> None:
        self._model, self._kept = model, kept
        self._from_us, self._to_us = from_us, to_us
        self.computed = dict.fromkeys(model.outputs, 0)
        self.taken = dict.fromkeys(model.outputs, 0)
        table = log.read(model.topics["features"])
        self._place = np.empty(0, np.int64)
        if not len(table):
            return
        numbers, offsets = (
            cols.from_arrow(table[name], Kind.INT).values for name in ("trigger_partition", "trigger_offset")
        )
        place = position(numbers, offsets)
        _, rows = np.unique(place, return_index=True)
        self._place = place[rows]
        self._mark = cols.from_arrow(table["fingerprint"], Kind.STRING).values[rows]
        self._features = {
            name: cols.from_arrow(
                table[name].cast(cols.arrow_type(value.kind, value.item)), value.kind, value.item
            ).take(rows)
            for name, value in model.outputs.items()
            if name in table.column_names and any(name in names for names in kept.values())
        }

    def over(self, vectors: Vectors) -> Vectors:
        """The vectors with what was served in the place of what was computed."""
        wanted = position(np.array([part.partition for part in vectors.partition], np.int64), vectors.offset)
        at = np.minimum(np.searchsorted(self._place, wanted), max(len(self._place) - 1, 0))
        there = self._place[at] == wanted if len(self._place) else np.zeros(len(wanted), np.bool_)
        counts = vectors.within(self._from_us, self._to_us)
        features = {}
        for name, column in vectors.features.items():
            use = there.copy()
            if there.any() and name in getattr(self, "_features", {}):
                marks = [mark for mark, names in self._kept.items() if name in names]
                use &= np.isin(self._mark[at].astype(str), marks)
                served = self._features[name].take(at)
                values, valid = column.values.copy(), np.where(use, served.valid, column.valid)
                values[use] = served.values[use]
                features[name] = ColumnData(values, valid)
            else:
                use[:] = False
                features[name] = column
            self.taken[name] += int((use & counts).sum())
            self.computed[name] += int((~use & counts).sum())
        return replace(vectors, features=features)


def _meaning(declared: Declaration, name: str) -> list[tuple[str, str]] | None:
    """A part and all that it is computed from, by digest; None where it is not declared."""
    if name not in declared.parts:
        return None
    seen: dict[str, str] = {}
    waiting = [name]
    while waiting:
        part = waiting.pop()
        if part not in seen and part in declared.parts:
            seen[part] = declared.parts[part].digest
            waiting += declared.parts[part].reads
    return sorted(seen.items())
