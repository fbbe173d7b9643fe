"""What is told of a model that has aged beside its figures: its errors before and after, the worst predictions, and where they are.

The latest outcomes are kept for it. None of this decides anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.diagnosis import instant
from samestream.monitors.drift_evidence import bounded
from samestream.monitors.incidents import DAY_US, Finding
from samestream.monitors.side_by_side import numbers_side_by_side
from samestream.monitors.slices import LEAST_ROWS, TOLD_ROWS, SampledRows, keys_of, short, where_marked
from samestream.schemas.outputs import Output
from samestream.streams.models.profile import BUCKETS, buckets_of

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

KEPT = 4096
"""Outcomes that are looked into; of the recent ones half as many at most, so that there are some of before."""
BAD = 0.9
"""Of numbers and chances, an error that is greater than such a share of those before is a bad one; of classes, any."""
_Outcome = tuple[int, float, dict[str, Any]]
_TOLD = ("version", "score", "value", "label", "label_value")


class OutcomeEvidence:
    """The latest labelled predictions of a model."""

    def __init__(self, output: Output) -> None:
        self._output: Output = output
        self._rows: list[_Outcome] = []
        self._seen = self._first = 0  # outcomes so far, and before those of an aged model

    def add(self, known_us: int, error: float, row: Mapping[str, Any]) -> None:
        """Remember an outcome. known_us : when its label became known. error : see `label_windows.error_of`."""
        kept = ("entity", "event_time", "trigger_topic", "trigger_partition", "trigger_offset", "label_time", *_TOLD)
        self._rows.append((known_us, error, {name: row[name] for name in kept if row.get(name) is not None}))
        self._seen += 1
        if len(self._rows) >= 2 * KEPT:
            del self._rows[:-KEPT]

    def known_since(self, label_us: int) -> int:
        """How many there are from the first on whose label happened at an instant or after it."""
        places = (place for place, (*_, row) in enumerate(self._rows) if row["label_time"] >= label_us)
        return len(self._rows) - next(places, len(self._rows))

    def of(self, finding: Finding, recent: int | None = None) -> Finding:
        """A finding with what the errors say, told anew after a day: by then every part of the day has had some.

        recent : how many of the latest are those of an aged model; None where it is found again.
        """
        if recent is not None:
            self._first = self._seen - recent
        return replace(finding, teller=self._told, seen=self._seen, ripens_us=DAY_US)

    def _told(self, evidence: Mapping[str, Any], since_us: int | None) -> Mapping[str, Any]:
        found, rows = dict(evidence), self._rows[-KEPT:]
        recent = self._seen - self._first
        first = len(rows) - min(recent, KEPT // 2)
        if first > 0 and recent > 0:
            before, after = (np.array([error for _, error, _ in part]) for part in (rows[:first], rows[first:]))
            if since_us is not None:
                found |= {"error_after": round(float(after.mean()), 6), "predictions_after": len(after)}
            found |= self._histogram(before, after)
            bad = 0.0 if self._output == "class" else float(np.quantile(before, BAD))
            earlier = (self._sampled(rows[:first]), before > bad) if first >= LEAST_ROWS else None
            # a slice in which more were bad before is expected to hold more of them
            found |= where_marked(self._sampled(rows[first:]), after > bad, earlier)
            found["examples"] = _examples(rows[first:])
        return bounded(found)

    def _histogram(self, before: Floats, after: Floats) -> dict[str, Any]:
        if self._output == "class":
            shares = {name: float(np.mean(side)) for name, side in (("before", before), ("after", after))}
            sides = {name: [round(1 - wrong, 4), round(wrong, 4)] for name, wrong in shares.items()}
            return {"histogram": {"of": "predictions", "texts": ["right", "wrong"], **sides}}
        found = numbers_side_by_side(np.bincount(buckets_of(before), minlength=BUCKETS), after)
        return {"histogram": {"of": "errors", **found["histogram"]}}

    def _sampled(self, outcomes: list[_Outcome]) -> SampledRows:
        """Rows by the time of what they are about, for the part of the day is that."""
        rows = [row for *_, row in outcomes]
        columns = {"version": _texts([row.get("version") for row in rows])}
        if self._output == "class":
            columns["predicted"] = _texts([row.get("value") for row in rows])
        elif self._output == "probability":
            tenths = np.array([round(float(row["score"]), 1) for row in rows], np.float64)
            columns["score, rounded"] = tenths, np.ones(len(rows), np.bool_)
        keys = keys_of([row.get("entity", "") for row in rows])
        return SampledRows(np.array([row["event_time"] for row in rows], np.int64), keys, columns, len(rows))


def _texts(values: list[Any]) -> tuple[npt.NDArray[Any], Bools]:
    return np.array(values, object), np.array([value is not None for value in values], np.bool_)


def _examples(rows: list[_Outcome]) -> list[dict[str, Any]]:
    """The worst predictions of different keys, the latest of equals first, and the event that each was made for."""
    told: dict[Any, dict[str, Any]] = {}
    order = sorted(range(len(rows)), key=lambda place: (-rows[place][1], -place))
    for place in order:
        known_us, error, row = rows[place]
        key = row.get("entity", place)
        if key in told:
            continue
        told[key] = {
            "at": instant(known_us),
            **({"key": short(str(key))} if "entity" in row else {}),
            "event_time": instant(row["event_time"]),
            "error": short(error),
            **{name: row[name] if isinstance(row[name], int) else short(row[name]) for name in _TOLD if name in row},
            "topic": row["trigger_topic"],
            "partition": row["trigger_partition"],
            "offset": row["trigger_offset"],
        }
        if len(told) == TOLD_ROWS:
            break
    return list(told.values())
