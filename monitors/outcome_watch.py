"""Has a model aged? What labels say of its predictions, in the order in which they become known.

Two looks, each leaving its greatest level of a day: the error stream (`monitors.error_change`, and river's detectors where
they are asked for), prediction by prediction, and the calibration of a window of label time, once its labels have come. The
levels share one limit, that of the alarm budget: set by what they reached on good days, one incident on so many days
as the budget's share allows. Below the shortest history for which that holds nothing alarms, and `needed_days` says so.

While another incident of the model is open, its features or sources are what is wrong, or what was served is not what the
log says: that explains worse predictions, so the model is not blamed, and such a day is not learned from. Labels of what was
predicted then may come much later, when all is well again: predictions made while an incident was open, or in the hour before it
was told, say nothing of the model, whenever their labels come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.budget import OUTCOMES_SHARE, allowed
from samestream.monitors.declared import Calibration as CalibrationCheck
from samestream.monitors.declared import Declared, Performance
from samestream.monitors.error_change import ErrorChange
from samestream.monitors.incidents import DAY_US, HOUR_US, Finding, IncidentBook, IncidentRecord, Lineage
from samestream.monitors.label_windows import LabelWindows, error_of
from samestream.monitors.outcome_evidence import OutcomeEvidence
from samestream.schemas.errors import SettingsError
from samestream.schemas.outputs import Output

Floats = npt.NDArray[np.float64]

AGED, PLACE = "model_aged", "labels"
LEAST_LEVEL = 8.0
ACCEPTED_US = 14 * DAY_US
"""An aged model that nobody replaces is the usual one from then on, and another history is gathered."""
TAUGHT = 2.0
"""Times the limit that a day may count for in the limits to come."""
KEPT_DAYS, KEPT_ERRORS = 400, 100_000
EARLIER_US, REMEMBERED_US = HOUR_US, 60 * DAY_US
"""A fault may have begun so long before it was told; and labels that come so long after it are taken to be of other predictions."""
LEAST_NOW = 50
"""Errors in the last day that it takes to say that a model has recovered."""


@dataclass
class _Aged:
    """What was usual before a change: mean and variance of errors, and how high the limit was."""

    mean: float
    variance: float
    limit: float
    since_us: int


@dataclass
class _Day:
    """What a day left: the greatest level of each look, and whether anything else was wrong."""

    number: int
    peaks: dict[str, float] = field(default_factory=dict)
    good: bool = True

    def note(self, look: str, level: float) -> None:
        self.peaks[look] = max(level, self.peaks.get(look, 0.0))

    def cut_at(self, most: float | None, scales: Mapping[str, float]) -> None:
        """Let no level count for more than so much, on the common scale: what is far beyond the limit is no usual day."""
        if most is not None:
            self.peaks = {look: min(level, most * scales.get(look, 1.0)) for look, level in self.peaks.items()}


class OutcomeWatch:
    """Watches the outcomes of one model. Everything is handed over in the order of known time.

    settle_us : how long after the end of a window of label time its labels still come
    """

    def __init__(self, lineage: Lineage, output: Output, declared: Declared, settle_us: int) -> None:
        self._book = IncidentBook(lineage, declared.alarms_per_week)
        performance = next((check for check in declared.scores if isinstance(check, Performance)), None)
        reliable = next((check for check in declared.scores if isinstance(check, CalibrationCheck)), None)
        self.per_week = OUTCOMES_SHARE * declared.alarms_per_week
        self._by_performance, self._by_calibration = performance is not None, reliable is not None
        self._detectors = performance.detectors if performance is not None else ()
        if self._asked:
            _require_river(lineage.model)
        lengths = [check.window_us for check in (performance, reliable) if check is not None]
        self.windows = LabelWindows(output, min(lengths))
        self._output: Output = output
        self._settle_us, self._model = settle_us, lineage.model
        self._stream = ErrorChange(binary=output == "class")
        self._errors: list[float] = []
        self._evidence = OutcomeEvidence(output)
        self._recent: list[tuple[int, float]] = []  # of the last day
        self._history: list[_Day] = []
        self._days: list[Floats] = []  # errors of the good days, for river's detectors
        self._river: dict[str, Any] = {}
        self._day: _Day | None = None
        self._today: list[float] = []
        self._limit: float | None = None
        self._scales: dict[str, float] = {}
        self._others: dict[str, int] = {}  # open incidents, and since when
        self._over: list[tuple[int, int]] = []  # from when until when others were open
        self._aged: _Aged | None = None
        self._closed_us = self._looked_hour = 0
        self._told: dict[int, float] = {}  # windows whose calibration was looked at: the level
        self.newest: dict[str, float | None] = {}
        """The figures of the newest window of label time that is complete."""

    @property
    def _asked(self) -> list[str]:
        """River's detectors that are asked for."""
        return [name for name in self._detectors if name != "change"]

    @property
    def learned_days(self) -> int:
        """Good days of history so far."""
        return len(self._history)

    def records(self) -> list[IncidentRecord]:
        """What happened to incidents since the last call."""
        return self._book.records()

    def on_incident(self, incident: str, event: str, subject: str, verdict: str, opened_at_us: int, at_us: int) -> None:
        """Take note of an incident of the drift topic; those of other models, and its own, explain nothing."""
        if verdict == AGED or not subject.startswith(f"{self._model}."):
            return
        if event == "close":
            self._others.pop(incident, None)
            self._over = [one for one in self._over if one[1] > at_us - REMEMBERED_US]
            self._over.append((opened_at_us, at_us))
        elif event == "open" or incident in self._others:  # more may be told of one that is closed, by who looks later
            self._others[incident] = opened_at_us
            if self._day is not None:
                self._day.good = False

    def _is_explained(self, predicted_us: int) -> bool:
        """Whether something else was wrong when a prediction was made."""
        return any(since_us - EARLIER_US <= predicted_us for since_us in self._others.values()) or any(
            since_us - EARLIER_US <= predicted_us <= until_us for since_us, until_us in self._over
        )

    def on_outcome(self, known_us: int, row: Mapping[str, Any]) -> None:
        """Take an outcome; only those with a label say anything."""
        self._advance(known_us)
        if row["state"] not in ("labelled", "correction"):
            return
        error = error_of(self._output, row)
        if error is None:
            return
        is_explained = self._is_explained(row["event_time"])
        self.windows.add(row, is_explained)
        if row["state"] == "correction" or is_explained:
            return  # the error stream is of first labels: a correction would be counted twice
        self._evidence.add(known_us, error, row)
        self._recent.append((known_us, error))
        self._today.append(error)
        self._errors.append(error)
        del self._errors[:-KEPT_ERRORS]
        if not self._by_performance:
            return
        level = float(self._stream.levels(np.array([error]))[0])
        assert self._day is not None
        self._day.note("errors", level)
        if self._aged is None and self._exceeds("errors", level):
            self._age(known_us, "errors", level)
        for name, detector in self._river.items():
            if detector.alarms(np.array([error])) and self._aged is None and not self._others:
                self._age(known_us, name, level)

    def _exceeds(self, look: str, level: float) -> bool:
        return self._limit is not None and not self._others and level > self._limit * self._scales.get(look, 1.0)

    def _age(self, known_us: int, look: str, level: float) -> None:
        """Open an incident: the model is worse than it was."""
        recent = max(self._stream.recent, 1)
        errors = np.array(self._errors)
        before, after = errors[:-recent], errors[-recent:]
        before = before if len(before) else errors
        limit = (self._limit or LEAST_LEVEL) * self._scales.get(look, 1.0)
        self._aged = _Aged(float(before.mean()), float(before.var()), limit, known_us)
        evidence = {
            "detector": look,
            "level": round(level, 3),
            "limit": round(limit, 3),
            "error": _ERRORS[self._output],
            "error_before": round(float(before.mean()), 6),
            "error_after": round(float(after.mean()), 6),
            "predictions_after": len(after),
            "others": "no other incident was open when these were predicted",
            "history_days": len(self._history),
            "figures": self.newest,
        }
        rise = float(after.mean() - before.mean()) / max(float(before.mean()), 1e-9)
        finding = Finding(AGED, min(0.3 + rise, 1.0), evidence)
        self._observe(known_us, self._evidence.of(finding, len(after)))

    def _observe(self, at_us: int, *findings: Finding) -> None:
        self._book.observe(self._model, list(findings), at_us, place=PLACE, affected=())

    def _advance(self, known_us: int) -> None:
        """Close the days that ended, and look hourly whether an aged model is better."""
        number = known_us // DAY_US
        if self._day is None:
            self._day = _Day(number, good=not self._others)
        while self._day.number < number:
            self._close_day((self._day.number + 1) * DAY_US)
            following = self._day.number + 1
            # a week without anything leaves no days to learn from
            self._day = _Day(number if not self._today and number > following else following, good=not self._others)
            self._today = []
        if self._aged is None:
            self._recent.clear()
        elif known_us // HOUR_US > self._looked_hour:
            self._looked_hour = known_us // HOUR_US
            self._recent = [one for one in self._recent if one[0] > known_us - DAY_US]
            self._look_again(known_us)

    def _look_again(self, known_us: int) -> None:
        aged = self._aged
        assert aged is not None
        if self._others:
            return
        errors = np.array([error for _, error in self._recent])
        if len(errors) < LEAST_NOW:
            worse = True  # too few to say that it is not
        else:
            apart = float(errors.mean()) - aged.mean
            level = len(errors) * apart * apart / (2 * max(aged.variance, 1e-12)) if apart > 0 else 0.0
            worse = level > aged.limit / 2
        bad = worse and known_us - aged.since_us < ACCEPTED_US
        self._observe(known_us, *([self._evidence.of(Finding(AGED, 0.5, {}))] if bad else []))
        if self._book.holding([self._model], known_us, known_us, PLACE) is None:
            self._aged, self._closed_us = None, known_us
            self._stream.reset()
            if known_us - aged.since_us >= ACCEPTED_US:
                # what is usual begins anew
                self._history, self._days, self._limit, self._river = [], [], None, {}

    def _close_day(self, ended_us: int) -> None:
        assert self._day is not None
        self._look_at_windows(ended_us)
        if self._day.good and self._day.peaks:
            # days that alarmed, too: without them the limit would stay below what the world does, and alarm for ever
            self._day.cut_at(TAUGHT * self._limit if self._limit is not None else None, self._scales)
            self._history.append(self._day)
            self._days.append(np.array(self._today))
            del self._history[:-KEPT_DAYS], self._days[:-KEPT_DAYS]
            self._calibrate()

    def _look_at_windows(self, now_us: int) -> None:
        """Figures and calibration of the windows whose labels have come, and of those that came to more since."""
        length = self.windows.window_us
        for number in sorted(self.windows.windows):
            window = self.windows.windows[number]
            if not window.changed or (number + 1) * length + self._settle_us > now_us:
                continue
            window.changed = False
            figures = self.windows.figures(number)
            if number >= max(self._told, default=number):
                self.newest = {**figures, "label_time_us": number * length}
            found = self.windows.calibration(number)
            if not self._by_calibration or found is None or window.explained or number * length < self._closed_us:
                self._told[number] = 0.0
                continue
            level = max(found.excess, 0.0) ** 2 / 2
            assert self._day is not None
            self._day.note("calibration", level)
            if self._aged is None and self._exceeds("calibration", level) and level > self._told.get(number, 0.0):
                self._age_by_calibration(now_us, level, figures, found.groups, number * length)
            self._told[number] = level

    def _age_by_calibration(
        self,
        known_us: int,
        level: float,
        figures: Mapping[str, float | None],
        groups: Sequence[tuple[float, float, int]],
        label_us: int,
    ) -> None:
        errors = np.array(self._errors or [0.0])
        limit = (self._limit or LEAST_LEVEL) * self._scales.get("calibration", 1.0)
        self._aged = _Aged(float(errors.mean()), float(errors.var()), limit, known_us)
        evidence = {
            "detector": "calibration",
            "level": round(level, 3),
            "limit": round(limit, 3),
            "figures": dict(figures),
            "reliability": [[round(said, 4), round(share, 4), rows] for said, share, rows in groups],
            "others": "no other incident was open when these were predicted",
        }
        finding = Finding(AGED, 0.5, evidence)
        self._observe(known_us, self._evidence.of(finding, self._evidence.known_since(label_us)))

    def _calibrate(self) -> None:
        """One limit for all looks, by what they reached together on the good days.

        Each is put on the scale of its own three worst days first, so that a restless one does not set the limit for a calm one.
        """
        days = len(self._history)
        spared = allowed(days, self.per_week)
        if spared < 0:
            return
        looks = {look for day in self._history for look in day.peaks}
        for look in looks:
            worst = sorted((day.peaks.get(look, 0.0) for day in self._history), reverse=True)[:3]
            self._scales[look] = max(1.0, sum(worst) / len(worst) / LEAST_LEVEL)
        joint = sorted(
            (max(level / self._scales[look] for look, level in day.peaks.items()) for day in self._history),
            reverse=True,
        )
        self._limit = max(LEAST_LEVEL, joint[min(spared, days - 1)])
        if self._asked and (not self._river or days % 7 == 0):
            from samestream.monitors.error_stream import calibrated

            history = [np.concatenate(self._days)[-KEPT_ERRORS:]]
            for name in self._asked:
                found = calibrated(name, history, spared)
                if found is not None:
                    self._river[name] = found


def _require_river(model: str) -> None:
    """Raises SettingsError where river is not installed: at once, and not when there is history enough to calibrate."""
    try:
        import samestream.monitors.error_stream  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            "a package is missing that the detectors of performance() come from",
            where=f"monitors of {model}",
            found=str(error),
            hint="pip install 'samestream[monitors]'.",
        ) from error


_ERRORS: Mapping[str, str] = {
    "probability": "squared distance of the probability from what happened",
    "number": "absolute distance of the number from what came",
    "class": "share of wrong classes",
}
