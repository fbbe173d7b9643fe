"""Have served features or scores moved away from what they were? Window by window of known time.

A window that holds fewer than 200 rows is joined to the next one. A window counts as moved if its population stability
index exceeds ``max(0.25, 1.5 x the greatest of the calibration's own windows)`` (more where those are fewer than 28, or
hold more rows), or if far more of it is null than ever was. One window never opens an incident; windows in a row that
cover two lengths and at least four hours do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.diagnosis import PARITY_BROKEN
from samestream.monitors.distances import psi
from samestream.monitors.incidents import CALM_US, HOUR_US, PARITY, Finding, Incident, IncidentBook, Lineage
from samestream.monitors.rows import Rows
from samestream.monitors.sources import DAY_US
from samestream.streams.models.category_profile import Profile, merged, profile_of, read_profile, side_by_side
from samestream.streams.models.profile import NumericProfile

ROWS = 200
DAYS_LEARNED = 7
LEAST_PSI = 0.25
PATIENCE_US = 4 * HOUR_US
"""A source fault needs up to about three hours to be seen; drift waits longer, so that it is not blamed on the world."""
TRAINING_US = 30 * DAY_US
"""What a reference that names no period of its own is calibrated on: the windows of so long before it applied."""
SCORE_WINDOWS, SCORE_DAYS = 28, 14
"""Scores are compared with so many windows before; for so many days they only calibrate (seven proved too few)."""
KEPT_WINDOWS = 1200


def psi_limit(greatest: float, windows: int) -> float:
    """The index from which a window counts as moved, from the greatest of the windows that calibrated it.

    The greatest of few says little about what is to come, so below four weeks of daily windows the margin widens.
    """
    widened = float(max(1.0, 28 / max(windows, 1)) ** 0.5)
    return max(LEAST_PSI, 1.5 * greatest * widened)


@dataclass
class Window:
    """Profiles of the rows of one window. spoiled : names that a known incident explains; they calibrate nothing."""

    start_us: int
    end_us: int
    profiles: dict[str, Profile]
    spoiled: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Limit:
    """What a feature is compared with, and how far a window may be from it.

    psi : in nats. null_share : 0 to 1 and more.
    rows : usual rows of a window. The index of a window with fewer is noisier in proportion, so its limit is higher.
    """

    reference: Profile
    psi: float
    null_share: float
    rows: float

    @classmethod
    def calibrated(cls, reference: Profile, windows: Sequence[Profile]) -> Limit:
        """Limits from windows that are known to be good."""
        greatest = max((_apart(reference, window) for window in windows), default=0.0)
        nulls = max((window.null_share for window in [reference, *windows]), default=0.0)
        rows = float(np.median([window.n for window in windows])) if windows else 0.0
        return cls(reference, psi_limit(greatest, len(windows)), 1.5 * nulls + 0.1, rows)

    def moved(self, window: Profile) -> tuple[bool, dict[str, Any]]:
        """Whether a window has moved, and the numbers that say so."""
        distance = _apart(self.reference, window)
        limit = self.psi * max(1.0, self.rows / max(window.n, 1))
        evidence = {
            "psi": round(distance, 4),
            "psi_limit": round(limit, 4),
            "null_share": round(window.null_share, 4),
            "null_share_limit": round(self.null_share, 4),
            "rows": window.n,
            "before": _summary(self.reference),
            "after": _summary(window),
        }
        return distance > limit or window.null_share > self.null_share, evidence


class Windows:
    """Rows gathered into windows that are evaluated in order."""

    def __init__(self, names: Sequence[str], window_us: int) -> None:
        self.names, self.window_us = tuple(names), window_us
        self.rows = Rows()
        self.past: list[Window] = []
        self._next: int | None = None
        self._start_us = 0
        self._pool: list[tuple[npt.NDArray[Any], ...]] = []

    def ended(self, clock_us: int) -> list[Window]:
        """Windows that ended by the clock and hold rows enough, oldest first."""
        end = clock_us // self.window_us
        if self._next is None:
            first_us = self.rows.first_us
            if first_us is None or first_us >= end * self.window_us:
                return []
            self._next = first_us // self.window_us
            self._start_us = self._next * self.window_us
        found = []
        while self._next < end:
            self._next += 1
            end_us = self._next * self.window_us
            taken = self.rows.take(end_us)
            if taken is not None:
                self._pool.append(taken)
            if sum(len(part[0]) for part in self._pool) >= ROWS:
                found.append(self._window(end_us))
            elif not self._pool:
                self._start_us = end_us
        return found

    def keep(self, window: Window) -> None:
        """Remember a window for calibrations to come."""
        self.past.append(window)
        del self.past[:-KEPT_WINDOWS]

    def _window(self, end_us: int) -> Window:
        columns = [np.concatenate(parts) for parts in zip(*self._pool, strict=True)]
        profiles = {
            name: profile_of(columns[1 + 2 * place], columns[2 + 2 * place]) for place, name in enumerate(self.names)
        }
        start_us, self._start_us, self._pool = self._start_us, end_us, []
        return Window(start_us, end_us, profiles)


@dataclass(frozen=True)
class Reference:
    """What one model version was trained on."""

    version: str
    applies_from_us: int
    from_us: int
    profiles: Mapping[str, Profile]
    scores: Profile | None = None

    @classmethod
    def read(cls, version: str, applies_from_us: int, stored: Mapping[str, Any]) -> Reference:
        """From ``stored["features"]`` and, where given, ``stored["scores"]`` (of the training rows).

        ``stored["from_us"]``, where given, says when the training period began.
        """
        profiles = {name: read_profile(profile) for name, profile in stored.get("features", {}).items()}
        scores = read_profile(stored["scores"]) if stored.get("scores") else None
        return cls(
            version, applies_from_us, int(stored.get("from_us", applies_from_us - TRAINING_US)), profiles, scores
        )


class Persistence:
    """Counts, per name, how long a move has lasted, and how long it has been gone."""

    def __init__(self, window_us: int) -> None:
        self._needed_us = max(2 * window_us, PATIENCE_US)
        self._calm_needed_us = max(2 * window_us, CALM_US)
        self._moved_us: dict[str, int] = {}
        self._windows: dict[str, int] = {}
        self._calm_us: dict[str, int] = {}

    def moved(self, name: str, window: Window) -> bool:
        """Count a window that moved; True once it is enough to open an incident."""
        self._moved_us[name] = self._moved_us.get(name, 0) + window.end_us - window.start_us
        self._windows[name] = self._windows.get(name, 0) + 1
        self._calm_us[name] = 0
        return self._windows[name] >= 2 and self._moved_us[name] >= self._needed_us

    def calm(self, name: str, window: Window) -> bool:
        """Count a window that did not move; True once it is enough to close one."""
        self._moved_us[name] = self._windows[name] = 0
        self._calm_us[name] = self._calm_us.get(name, 0) + window.end_us - window.start_us
        return self._calm_us[name] >= self._calm_needed_us


class FeatureWatch:
    """The features of a model against what its current version was trained on."""

    def __init__(self, lineage: Lineage, window_us: int, book: IncidentBook) -> None:
        self.windows = Windows(lineage.features, window_us)
        self._lineage, self._book = lineage, book
        self._references: list[Reference] = []
        self._limits: dict[str, Limit] = {}
        self._limits_of: Reference | None = None
        self._persistence = Persistence(window_us)
        self._incidents: list[Incident] = []

    def add_reference(self, reference: Reference) -> None:
        """Take note of a model version."""
        self._references.append(reference)
        self._references.sort(key=lambda known: known.applies_from_us)

    def advance(self, clock_us: int) -> None:
        """Evaluate the windows that ended by the clock."""
        for window in self.windows.ended(clock_us):
            self._evaluate(window)
            self.windows.keep(window)

    def open_at(self, at_us: int) -> Incident | None:
        """The earliest incident about features that is open at an instant."""
        return min(
            (incident for incident in self._incidents if incident.holds(at_us, at_us)),
            key=lambda incident: (incident.opened_at_us, incident.cause),
            default=None,
        )

    def _evaluate(self, window: Window) -> None:
        limits = self._limits_at(window.start_us)
        settled = []
        for name in self._lineage.features:
            explaining = self._book.holding(self._lineage.causes_of(name), window.start_us - DAY_US, window.end_us)
            if explaining is not None:
                window.spoiled.add(name)
            if name not in limits:
                continue
            moved, evidence = limits[name].moved(window.profiles[name])
            if moved and explaining is not None:
                if name not in explaining.moved:
                    explaining.moved.add(name)
                    self._book.update(explaining, window.end_us, {"moved": {name: evidence}})
                moved = False
            if moved and self._persistence.moved(name, window):
                self._blame_the_world(name, evidence, window.end_us)
            elif not moved and self._persistence.calm(name, window):
                settled.append(name)
        for name in settled:  # last, so that what moves now can join the incident of what moved before
            self._settle(name, window.end_us)

    def _limits_at(self, at_us: int) -> dict[str, Limit]:
        current = [known for known in self._references if known.applies_from_us <= at_us]
        if not current:
            return {}
        if current[-1] is not self._limits_of:
            self._limits_of = current[-1]
            self._limits = self._calibrated(current[-1])
        return self._limits

    def _calibrated(self, reference: Reference) -> dict[str, Limit]:
        before = [
            window
            for window in self.windows.past
            if window.start_us >= reference.from_us and window.end_us <= reference.applies_from_us
        ]
        limits = {}
        for name, profile in reference.profiles.items():
            good = [window for window in before if name not in window.spoiled]
            span_us = good[-1].end_us - good[0].start_us if good else 0
            if name in self._lineage.features and profile.n and span_us >= DAYS_LEARNED * DAY_US:
                limits[name] = Limit.calibrated(profile, [window.profiles[name] for window in good])
        return limits

    def _blame_the_world(self, name: str, evidence: dict[str, Any], at_us: int) -> None:
        causes = self._lineage.causes_of(name)
        for incident in self._incidents:
            if incident.closed_at_us is None and (name in incident.moved or self._shares_a_source(incident, causes)):
                if name not in incident.moved:
                    incident.moved.add(name)
                    self._book.update(incident, at_us, {"moved": {name: evidence}})
                return
        extent = evidence["psi"] / (4 * evidence["psi_limit"])
        finding = Finding("world_changed", extent, {"moved": {name: evidence}})
        incident = self._book.open(causes[0] if causes else name, finding, at_us, [name])
        incident.moved.add(name)
        self._incidents.append(incident)

    def _shares_a_source(self, incident: Incident, causes: Sequence[str]) -> bool:
        return any(set(self._lineage.causes_of(name)) & set(causes) for name in incident.moved)

    def _settle(self, name: str, at_us: int) -> None:
        for incident in self._incidents:
            if incident.closed_at_us is None and name in incident.moved:
                incident.moved.discard(name)
                if not incident.moved:
                    self._book.close(incident, at_us)


class ScoreWatch:
    """The scores of a model against those of its training rows; where none are kept, against the last 28 good windows.

    Of a model that predicts a class, the class it names is watched: the share of each.

    How far live scores usually are from the reference is learned from the windows themselves, whatever the version: a
    model fits the rows it was trained on better than any others, and one retrained daily would never gather a history of
    its own. What is usual begins anew when the world is found changed: at once where the features say so, after 14 days
    where only the scores do (their incident then closes). For 14 days from then the scores only calibrate.
    """

    def __init__(self, lineage: Lineage, window_us: int, book: IncidentBook, features: FeatureWatch | None) -> None:
        self.windows = Windows(["score"], window_us)
        self._lineage, self._book, self._features = lineage, book, features
        self._causes = [cause for feature in lineage.features for cause in lineage.causes_of(feature)]
        self._since_us = self._learning_us = 0  # where the present world began, and where it was accepted as such
        self._greatest = 0.0
        self._calibrating = 0  # windows that the greatest was taken of
        self._persistence = Persistence(window_us)
        self._incident: Incident | None = None
        self._told: set[str] = set()  # incidents of other families that were told about the scores
        self._references: list[Reference] = []

    def add_reference(self, reference: Reference) -> None:
        """Take note of a model version."""
        self._references.append(reference)
        self._references.sort(key=lambda known: known.applies_from_us)

    def _trained(self, at_us: int) -> Profile | None:
        """The scores of the training rows of the version that applied."""
        current = [known for known in self._references if known.applies_from_us <= at_us]
        return current[-1].scores if current and current[-1].scores and current[-1].scores.n else None

    def advance(self, clock_us: int) -> None:
        """Evaluate the windows that ended by the clock."""
        for window in self.windows.ended(clock_us):
            self._evaluate(window)
            self.windows.keep(window)

    def _evaluate(self, window: Window) -> None:
        fault = self._book.holding(self._causes, window.start_us - DAY_US, window.end_us)
        world = self._features.open_at(window.end_us) if self._features is not None else None
        explaining = fault or world
        if fault is not None:
            window.spoiled.add("score")
        good = [past for past in self.windows.past if not past.spoiled and past.start_us >= self._since_us]
        recent = [past.profiles["score"] for past in good[-SCORE_WINDOWS:]]
        trained = self._trained(window.start_us)
        if not recent and trained is None:
            return
        limit = replace(
            Limit.calibrated(trained or reduce(merged, recent), recent),
            psi=psi_limit(self._greatest, self._calibrating),
        )
        moved, evidence = limit.moved(window.profiles["score"])
        evidence["reference"] = "training" if trained else "last windows"
        since_us = good[0].start_us if good else window.start_us
        learning = window.start_us - max(since_us, self._learning_us) < SCORE_DAYS * DAY_US
        if moved and explaining is not None and not learning and explaining.identity not in self._told:
            self._told.add(explaining.identity)
            self._book.update(explaining, window.end_us, {"moved": {"score": evidence}})
        if moved and explaining is None and not learning:
            window.spoiled.add("score")
            if self._persistence.moved("score", window):
                self._blame_the_world(evidence, window.end_us)
            return
        if explaining is None and (trained or len(recent) >= 2):
            self._learn(evidence["psi"])
        if not learning and self._persistence.calm("score", window):
            self._close(window.end_us)
        if world is not None and world.opened_at_us > self._since_us:
            self._begin(world.opened_at_us, world.opened_at_us)

    def _blame_the_world(self, evidence: dict[str, Any], at_us: int) -> None:
        if self._incident is None:
            finding = Finding(
                "world_changed", evidence["psi"] / (4 * evidence["psi_limit"]), {"moved": {"score": evidence}}
            )
            self._incident = self._book.open("score", finding, at_us, [])
        elif at_us - self._incident.opened_at_us >= SCORE_DAYS * DAY_US:
            self._begin(self._incident.opened_at_us, at_us)
            for window in self.windows.past:
                if window.start_us >= self._incident.opened_at_us:
                    window.spoiled.discard("score")
            self._close(at_us)

    def _begin(self, since_us: int, learning_us: int) -> None:
        self._since_us, self._learning_us, self._greatest, self._calibrating = since_us, learning_us, 0.0, 0

    def _close(self, at_us: int) -> None:
        if self._incident is not None:
            self._book.close(self._incident, at_us)
            self._incident = None

    def _learn(self, distance: float) -> None:
        self._greatest = max(self._greatest, distance)
        self._calibrating += 1


class ParityWatch:
    """Served against replayed: any mismatch is an incident, until six hours of comparisons have found none."""

    def __init__(self, lineage: Lineage, book: IncidentBook) -> None:
        self._lineage, self._book = lineage, book

    def compared(self, compared: int, mismatched: int, by_feature: Mapping[str, int], known_us: int) -> None:
        """Take note of one comparison of vectors."""
        differing = [name for name in self._lineage.features if by_feature.get(name, 0) > 0]
        findings = []
        if mismatched > 0:
            evidence = {
                "compared": compared,
                "mismatched": mismatched,
                "by_feature": {name: by_feature[name] for name in differing},
            }
            findings = [Finding(PARITY_BROKEN, 0.5 + mismatched / max(compared, 1) / 2, evidence)]
        self._book.observe(PARITY, findings, known_us, place=PARITY, affected=differing)


def _apart(reference: Profile, window: Profile) -> float:
    """The index of a window, in nats; 0 between texts and numbers: the reference is of another definition."""
    counts = side_by_side(reference, window)
    return psi(*counts) if counts is not None else 0.0


def _summary(profile: Profile) -> dict[str, float | None]:
    """What people are shown of a profile: quantiles of numbers, shares of the most frequent texts."""
    if not isinstance(profile, NumericProfile):
        return {text: float(f"{profile.counts[text] / profile.n:.4g}") for text in profile.groups()[:5]}
    quantiles = {name: profile.quantile(q) for name, q in (("q10", 0.1), ("q50", 0.5), ("q90", 0.9))}
    return {name: None if value is None else float(f"{value:.6g}") for name, value in quantiles.items()}
