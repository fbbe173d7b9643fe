"""Have scores moved? Window by window of known time, as `monitors.vectors` judges features."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import reduce
from typing import Any

from samestream.monitors import score_parity
from samestream.monitors.checks import NO_FILTERS, Filters
from samestream.monitors.drift_budget import Levels, PastWindow, Share
from samestream.monitors.drift_evidence import evidence_of
from samestream.monitors.incidents import DAY_US, Finding, Incident, IncidentBook, Lineage
from samestream.monitors.slices import CalmRows
from samestream.monitors.vectors import FeatureWatch, Reference
from samestream.monitors.windows import Limit, Measured, Persistence, Window, Windows, psi_limit
from samestream.streams.models.category_profile import Profile, merged

SCORE_WINDOWS, SCORE_DAYS = 28, 14
"""Scores are compared with so many windows before; for so many days they only calibrate (seven proved too few)."""


class ScoreWatch:
    """The scores of a model against those of its training rows; where none are kept, against the last 28 good windows.

    Of a model that predicts a class, the class it names is watched: the share of each.

    How far live scores usually are from the reference is learned from the windows themselves, whatever the version: a
    model fits the rows it was trained on better than any others, and one retrained daily would never gather a history of
    its own. What is usual begins anew when the world is found changed: at once where the features say so, after 14 days
    where only the scores do (their incident then closes). For 14 days from then the scores only calibrate, as they do until the
    alarm budget has its shortest history of them (`monitors.drift_budget`).
    """

    def __init__(
        self,
        lineage: Lineage,
        window_us: int,
        book: IncidentBook,
        share: Share,
        features: FeatureWatch | None,
        filters: Filters = NO_FILTERS,
    ) -> None:
        self.windows = Windows(["score"], window_us, filters.min_rows)
        self.levels = Levels({"score": 0}, window_us, share, filters.lasting_us)
        self.blind: list[str] = []
        """The score, if no window could open an incident about it."""
        self._learned: list[PastWindow] = []  # windows that only calibrated
        self._lineage, self._book, self._features = lineage, book, features
        self._causes = [cause for feature in lineage.features for cause in lineage.causes_of(feature)]
        self._since_us = self._learning_us = 0  # where the present world began, and where it was accepted as such
        self._greatest = 0.0
        self._calibrating = 0  # windows that the greatest was taken of
        self._persistence = Persistence(window_us, filters.lasting_us)
        self._incident: Incident | None = None
        self._told: set[str] = set()  # incidents of other families that were told about the scores
        self._references: list[Reference] = []
        self._calm = CalmRows(window_us)

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
            moved = self._evaluate(window)
            if window.rows is not None:
                self._calm.add(window.rows, frozenset({"score"} if moved or window.spoiled else ()))
            self.windows.keep(window)

    def _evaluate(self, window: Window) -> bool:
        """Judge a window; whether it moved, whatever explains that."""
        since_us = window.start_us - DAY_US
        fault = self._book.holding(self._causes, since_us, window.end_us)
        fault = fault or self._book.holding([score_parity.CAUSE], since_us, window.end_us, score_parity.PLACE)
        world = self._features.open_at(window.end_us) if self._features is not None else None
        explaining = fault or world
        if fault is not None:
            window.spoiled.add("score")
        good = [past for past in self.windows.past if not past.spoiled and past.start_us >= self._since_us]
        recent = [past.profiles["score"] for past in good[-SCORE_WINDOWS:]]
        trained = self._trained(window.start_us)
        if not recent and trained is None:
            return False
        raised = self.levels.raised("score", window.start_us)
        limit = replace(
            Limit.calibrated(trained or reduce(merged, recent), recent),
            psi=psi_limit(self._greatest, self._calibrating),
            raised=1.0 if raised is None or math.isinf(raised) else raised,
        )
        measured = limit.measure(window.profiles["score"])
        moved = measured.moved
        since_us = good[0].start_us if good else window.start_us
        fresh = window.start_us - max(since_us, self._learning_us) < SCORE_DAYS * DAY_US
        if explaining is None:
            self._note(measured, window, fresh)
        self.blind = [] if limit.can_fire else ["score"]
        learning = fresh or raised is None or math.isinf(raised) or bool(self.blind)
        if moved and explaining is not None and not fresh and explaining.identity not in self._told:
            self._told.add(explaining.identity)
            told = {"moved": {"score": self._evidence(measured, limit, window, trained is not None)}}
            self._book.update(explaining, window.end_us, told)
        if moved and explaining is None and not learning:
            window.spoiled.add("score")
            if self._persistence.moved("score", window):
                self._blame_the_world(measured, limit, window, trained is not None)
            return True
        if explaining is None and (trained or len(recent) >= 2):
            self._learn(measured.psi)
        if not learning and self._persistence.calm("score", window):
            self._close(window.end_us)
        if world is not None and world.opened_at_us > self._since_us:
            self._begin(world.opened_at_us, world.opened_at_us)
        return moved

    def _note(self, measured: Measured, window: Window, fresh: bool) -> None:
        """Tell the budget: of what only calibrated, when that is over."""
        if fresh:
            profile = window.profiles["score"]
            past = PastWindow(window.start_us, window.end_us, measured.psi, measured.null_share, profile.n)
            self._learned.append(past)
            return
        if self._learned:
            self.levels.past("score", self._learned)
            self._learned = []
        self.levels.note("score", window.start_us, window.end_us, measured.ratio)

    def _evidence(self, measured: Measured, limit: Limit, window: Window, trained: bool) -> dict[str, Any]:
        evidence = evidence_of("score", measured, limit, window, self._calm.of("score"))
        return {**evidence, "reference": "training" if trained else "last windows"}

    def _blame_the_world(self, measured: Measured, limit: Limit, window: Window, trained: bool) -> None:
        at_us = window.end_us
        if self._incident is None:
            evidence = self._evidence(measured, limit, window, trained)
            told = {"moved": {"score": evidence}, "history_days": self.levels.days}
            finding = Finding("world_changed", measured.extent, told)
            self._incident = self._book.open("score", finding, at_us, [])
        elif at_us - self._incident.opened_at_us >= SCORE_DAYS * DAY_US:
            self._begin(self._incident.opened_at_us, at_us)
            for window in self.windows.past:
                if window.start_us >= self._incident.opened_at_us:
                    window.spoiled.discard("score")
            self._close(at_us)

    def _begin(self, since_us: int, learning_us: int) -> None:
        self._since_us, self._learning_us, self._greatest, self._calibrating = since_us, learning_us, 0.0, 0
        self._learned = []

    def _close(self, at_us: int) -> None:
        if self._incident is not None:
            self._book.close(self._incident, at_us)
            self._incident = None

    def _learn(self, distance: float) -> None:
        self._greatest = max(self._greatest, distance)
        self._calibrating += 1
