"""How a model does, by the outcomes that came: the figures that fit what it predicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from samestream.schemas.outputs import Output
from samestream.streams.models import scoring_metrics as metrics

Usual = float | Mapping[str, float]


def performance(
    output: Output, outcomes: Iterable[Mapping[str, Any]], usual: Usual | None = None
) -> dict[str, float | None]:
    """Figures over every labelled prediction, the last label of each; corrections replace.

    outcomes : records of an outcomes topic, the ones of a trigger in their order. usual : what one would say without a
        model: the base rate, the mean label, or the share of each class; with it the figures of saying that come along.

    A probability has `log_loss` and `auc` (None unless both outcomes occur), a number `root_mean_squared_error` and
    `mean_absolute_error`, a class `log_loss` and `accuracy`. `rows` is how many were judged; with none there is no other.
    """
    last: dict[tuple[str, int, int], Mapping[str, Any]] = {}
    for outcome in outcomes:
        known = outcome["label_value"] if output == "class" else outcome["label"]
        if known is not None and outcome["score"] is not None:
            last[outcome["trigger_topic"], outcome["trigger_partition"], outcome["trigger_offset"]] = outcome
    if not last:
        return {"rows": 0}
    # sorted by trigger, so that the sums do not depend on the order in which labels came
    rows = [last[trigger] for trigger in sorted(last)]
    figures = _of_classes(rows, usual) if output == "class" else _of_numbers(output, rows, usual)
    return {"rows": len(rows), **figures}


def _of_numbers(output: Output, rows: list[Mapping[str, Any]], usual: Usual | None) -> dict[str, float | None]:
    y, p = (np.array([row[name] for row in rows], np.float64) for name in ("label", "score"))
    base = np.full(len(y), usual if isinstance(usual, float | int) else np.nan)
    if output == "number":
        found: dict[str, float | None] = {
            "root_mean_squared_error": metrics.root_mean_squared_error(y, p),
            "mean_absolute_error": metrics.mean_absolute_error(y, p),
        }
        if usual is not None:
            found["baseline_root_mean_squared_error"] = metrics.root_mean_squared_error(y, base)
        return found
    found = {"log_loss": metrics.log_loss(y, p), "auc": metrics.auc(y, p) if 0 < y.mean() < 1 else None}
    if usual is not None:
        found["baseline_log_loss"] = metrics.log_loss(y, base)
    return found


def _of_classes(rows: list[Mapping[str, Any]], usual: Usual | None) -> dict[str, float | None]:
    happened = [row["label_value"] for row in rows]
    found: dict[str, float | None] = {
        "log_loss": metrics.class_log_loss([row["label_probability"] for row in rows]),
        "accuracy": metrics.accuracy(happened, [row["value"] for row in rows]),
    }
    if isinstance(usual, Mapping):
        most = max(sorted(usual), key=lambda name: usual[name])
        found["baseline_log_loss"] = metrics.class_log_loss([usual.get(name, 0.0) for name in happened])
        found["baseline_accuracy"] = metrics.accuracy(happened, [most] * len(rows))
    return found
