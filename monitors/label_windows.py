"""Labelled predictions by label time: figures of each window, which late labels and corrections change, and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.schemas.outputs import Output
from samestream.streams.models import scoring_metrics as metrics

Floats = npt.NDArray[np.float64]
Trigger = tuple[str, int, int]

BINS, LEAST_ROWS = 10, 200
"""Groups of equal mass that calibration is looked at in, and rows that it needs."""
KEPT_WINDOWS = 45
"""Windows of which the rows are kept; what is known of older ones is final."""


def error_of(output: Output, row: Mapping[str, Any]) -> float | None:
    """What is wrong with one prediction, given its label: 0 at best. None where there is no score, or no label.

    Of a probability its squared distance from what happened, of a number the absolute distance, of a class 1 if another one
    happened.
    """
    if output == "class":
        if row["label_value"] is None or row["value"] is None:
            return None
        return float(row["label_value"] != row["value"])
    if row["label"] is None or row["score"] is None:
        return None
    apart = abs(float(row["score"]) - float(row["label"]))
    return apart * apart if output == "probability" else apart


@dataclass(frozen=True)
class Calibration:
    """How far chances are from shares. error : the mean distance over groups (ECE), 0 to 1.

    noise : what a perfectly calibrated model of as many rows would show on average. excess : how many standard deviations of
    that noise the error lies above it. groups : (mean chance, share that happened, rows) of each
    """

    error: float
    noise: float
    excess: float
    groups: tuple[tuple[float, float, int], ...]


def calibration(chances: Floats, happened: Floats) -> Calibration | None:
    """Reliability in ten groups of equal mass; None below 200 rows. chances, happened : shape (rows,), 0 to 1.

    >>> rng = np.random.default_rng(0); p = rng.random(10_000)
    >>> found = calibration(p, (rng.random(10_000) < p).astype(float))
    >>> found.error < 0.02, abs(found.excess) < 3
    (True, True)
    >>> calibration(p, (rng.random(10_000) < p**2).astype(float)).excess > 20
    True
    """
    rows = len(chances)
    if rows < LEAST_ROWS:
        return None
    order = np.argsort(chances, kind="stable")
    error = noise = variance = 0.0
    groups = []
    for part in np.array_split(order, BINS):
        said, share = float(chances[part].mean()), float(happened[part].mean())
        weight = len(part) / rows
        # of the distance of a share from its expectation, half-normal in the limit
        spread = float(np.sum(chances[part] * (1 - chances[part]))) / len(part) ** 2
        error += weight * abs(share - said)
        noise += weight * float(np.sqrt(2 / np.pi * spread))
        variance += weight**2 * (1 - 2 / np.pi) * spread
        groups.append((said, share, len(part)))
    return Calibration(error, noise, (error - noise) / max(variance, 1e-12) ** 0.5, tuple(groups))


@dataclass
class LabelWindow:
    """The labelled predictions whose labels happened in one window.

    changed : since its figures were last taken. explained : something else was wrong when some of them were made.
    """

    rows: dict[Trigger, Mapping[str, Any]] = field(default_factory=dict)
    corrections: int = 0
    changed: bool = True
    explained: bool = False


class LabelWindows:
    """Windows of label time of one model. window_us : their length."""

    def __init__(self, output: Output, window_us: int) -> None:
        self.output, self.window_us = output, window_us
        self.windows: dict[int, LabelWindow] = {}
        self.too_old = 0
        """Labels that came after the rows of their window were let go."""

    def add(self, row: Mapping[str, Any], is_explained: bool = False) -> None:
        """Take an outcome with a label; a later one of the same trigger replaces it, in the window of its own label time.

        is_explained : something else was wrong when it was predicted, which says why it may be off.
        """
        trigger = row["trigger_topic"], row["trigger_partition"], row["trigger_offset"]
        number = row["label_time"] // self.window_us
        newest = max(self.windows, default=number)
        if number <= newest - KEPT_WINDOWS:
            self.too_old += 1
            return
        if row["state"] == "correction":
            for other in self.windows.values():
                if trigger in other.rows:
                    del other.rows[trigger]
                    other.corrections += 1
                    other.changed = True
        window = self.windows.setdefault(number, LabelWindow())
        window.rows[trigger], window.changed = row, True
        window.explained = window.explained or is_explained
        for old in [one for one in self.windows if one <= newest - KEPT_WINDOWS]:
            del self.windows[old]

    def figures(self, number: int) -> dict[str, float | None]:
        """How the model did on the labels of a window: the figures that fit what it predicts, and its calibration."""
        window = self.windows[number]
        rows = [window.rows[trigger] for trigger in sorted(window.rows)]
        found: dict[str, float | None] = {"rows": len(rows), "corrections": window.corrections}
        if not rows:
            return found
        if self.output == "class":
            given = [row["label_probability"] for row in rows if row["label_probability"] is not None]
            found["accuracy"] = metrics.accuracy([row["label_value"] for row in rows], [row["value"] for row in rows])
            found["log_loss"] = metrics.class_log_loss(given) if given else None
        else:
            y, p = (np.array([row[name] for row in rows], np.float64) for name in ("label", "score"))
            if self.output == "number":
                found["root_mean_squared_error"] = metrics.root_mean_squared_error(y, p)
                found["mean_absolute_error"] = metrics.mean_absolute_error(y, p)
                found["bias"] = float((p - y).mean())
            else:
                found["log_loss"] = metrics.log_loss(y, p)
                found["auc"] = metrics.auc(y, p) if 0 < y.mean() < 1 else None
        calibrated = self.calibration(number)
        if calibrated is not None:
            found |= {
                "calibration_error": calibrated.error,
                "calibration_noise": calibrated.noise,
                "calibration_excess": calibrated.excess,
            }
        return {name: None if value is None else round(value, 6) for name, value in found.items()}

    def calibration(self, number: int) -> Calibration | None:
        """Of a window: of probabilities, or of the chance given to the class that won; of numbers there is none."""
        rows = self.windows[number].rows.values()
        if self.output == "number":
            return None
        chances = np.array([row["score"] for row in rows], np.float64)
        if self.output == "class":
            happened = np.array([row["label_value"] == row["value"] for row in rows], np.float64)
        else:
            happened = np.array([row["label"] for row in rows], np.float64)
        return calibration(chances, happened)
