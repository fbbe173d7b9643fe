"""How old things are when they are scored: quantiles over the newest predictions, for whoever watches the scorer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np

from samestream.streams.columns import Int64Array
from samestream.streams.engine.measures import Measure

QUANTILES = (0.5, 0.9, 0.99)
_NEWEST = 4096
_LATENCY = "From when the log learned of an event to its prediction, in seconds: large while history is replayed."
_FRESHNESS = "From when an event happened to when the log learned of it, in seconds, over the newest predictions."


class PredictionAge:
    """The ages of a model's newest predictions. Metrics only: nothing that is computed depends on the clock here."""

    def __init__(self, model: str, clock: Callable[[], float] = time.time) -> None:
        self._model, self._clock, self._count = model, clock, 0
        self._latency_us, self._freshness_us = np.zeros(_NEWEST, np.int64), np.zeros(_NEWEST, np.int64)

    def note(self, known_us: Int64Array, event_us: Int64Array) -> None:
        """Take in predictions made just now, of events known and happened at these times, in microseconds."""
        known_us, event_us = known_us[-_NEWEST:], event_us[-_NEWEST:]
        places = (self._count + np.arange(len(known_us))) % _NEWEST
        self._latency_us[places] = round(self._clock() * 1e6) - known_us
        self._freshness_us[places] = known_us - event_us
        self._count += len(known_us)

    def measures(self) -> Iterable[Measure]:
        """The quantiles, none before the first prediction."""
        held = min(self._count, _NEWEST)
        if not held:
            return
        for name, says, ages_us in (
            ("prediction_latency_seconds", _LATENCY, self._latency_us),
            ("prediction_freshness_seconds", _FRESHNESS, self._freshness_us),
        ):
            for quantile, age_us in zip(QUANTILES, np.quantile(ages_us[:held], QUANTILES).tolist(), strict=True):
                yield Measure(name, says, {"model": self._model, "quantile": str(quantile)}, age_us / 1e6)
