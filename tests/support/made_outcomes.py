"""Outcomes of a made-up model, with a daily season, that ages on a day."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from samestream.monitors.budget import OUTCOMES_SHARE, shortest_days

HOUR = 3_600_000_000
DAY = 24 * HOUR
START = 1_356_998_400_000_000  # a midnight
PER_DAY = 240
NEEDED = shortest_days(OUTCOMES_SHARE * 4.0)


def outcome(
    number: int, at_us: int, score: float | None, label: float | None, state: str = "labelled"
) -> dict[str, Any]:
    return {
        "entity": f"e{number}",
        "event_time": at_us,
        "trigger_topic": "t",
        "trigger_partition": 0,
        "trigger_offset": number,
        "score": score,
        "label": label,
        "label_time": at_us,
        "label_value": None,
        "label_probability": None,
        "value": None,
        "version": "1",
        "state": state,
    }


def life(
    days: int, aged_from: int | None = None, seed: int = 0, until: int | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Outcomes of a calibrated model with a daily season; from a day on, until another, labels are the other way round."""
    rng = np.random.default_rng(seed)
    for number in range(days * PER_DAY):
        at_us = START + number * (DAY // PER_DAY)
        season = 0.1 * np.sin(2 * np.pi * number / PER_DAY)
        score = float(np.clip(rng.beta(2, 5) + season, 0.01, 0.99))
        day = number // PER_DAY
        flipped = aged_from is not None and aged_from <= day < (days if until is None else until)
        yield at_us, outcome(number, at_us, score, float(rng.random() < (1 - score if flipped else score)))
