"""Have served features moved away from what the model was trained on? Window by window of known time.

A window that holds fewer than 200 rows is joined to the next one. A window counts as moved if its population stability
index exceeds ``max(0.25, 1.5 x the greatest of the calibration's own windows)`` (more where those are fewer than 28, or
hold more rows), or if far more of it is null than ever was; both limits are raised as the alarm budget asks
(`monitors.drift_budget`), which allows no incident below its shortest history. One window never opens an incident; windows
in a row that cover two lengths and at least four hours do. What is told of a move is in `monitors.drift_evidence`; it
decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from samestream.monitors.checks import NO_FILTERS, Filters
from samestream.monitors.diagnosis import PARITY_BROKEN
from samestream.monitors.drift_budget import Levels, PastWindow, Share, groups_of
from samestream.monitors.drift_evidence import evidence_of
from samestream.monitors.incidents import DAY_US, PARITY, Finding, Incident, IncidentBook, Lineage
from samestream.monitors.matched import Matched
from samestream.monitors.slices import CalmRows
from samestream.monitors.trailing import Trailing
from samestream.monitors.windows import Limit, Measured, Persistence, Window, Windows, apart_without
from samestream.streams.models.category_profile import Profile, read_profile

DAYS_LEARNED = 7
TRAINING_US = 30 * DAY_US
"""What a reference that names no period of its own is calibrated on: the windows of so long before it applied."""


@dataclass(frozen=True)
class Reference:
    """What one model version was trained on.

    importance : of each feature to the version, a share of all; nothing where its artifact does not tell.
    """

    version: str
    applies_from_us: int
    from_us: int
    profiles: Mapping[str, Profile]
    scores: Profile | None = None
    importance: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, version: str, applies_from_us: int, stored: Mapping[str, Any]) -> Reference:
        """From ``stored["features"]`` and, where given, ``stored["scores"]`` (of the training rows).

        ``stored["from_us"]``, where given, says when the training period began; ``stored["importance"]``, what each feature is
        to the model.
        """
        profiles = {name: read_profile(profile) for name, profile in stored.get("features", {}).items()}
        scores = read_profile(stored["scores"]) if stored.get("scores") else None
        from_us = int(stored.get("from_us", applies_from_us - TRAINING_US))
        return cls(version, applies_from_us, from_us, profiles, scores, dict(stored.get("importance", {})))


class FeatureWatch:
    """The features of a model against what its current version was trained on.

    reference : ``matched``: against the same time of the day and the week in the training period, see `monitors.matched`;
    ``trailing``: against the last four weeks, see `monitors.trailing`. filters : how long a move must last, and of how many
    vectors a window.
    """

    def __init__(
        self,
        lineage: Lineage,
        window_us: int,
        book: IncidentBook,
        share: Share,
        reference: str = "training",
        filters: Filters = NO_FILTERS,
    ) -> None:
        self.windows = Windows(lineage.features, window_us, filters.min_rows)
        self.levels = Levels(groups_of(lineage), window_us, share, filters.lasting_us)
        self.blind: list[str] = []
        """Features that no window could open an incident about."""
        self._lineage, self._book = lineage, book
        self._references: list[Reference] = []
        self._limits: dict[str, Limit] = {}
        self._limits_of: Reference | None = None
        self._is_matched = reference == "matched"
        self._matched: dict[str, Matched] = {}
        self._trailing = {name: Trailing(window_us) for name in lineage.features} if reference == "trailing" else {}
        self._persistence = Persistence(window_us, filters.lasting_us)
        self._incidents: list[Incident] = []
        self._calm = CalmRows(window_us)
        self._order: list[str] = []  # of what moved in the window that is looked at

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
        settled, restless, looked = [], set(), {}
        for name in self._lineage.features:
            explaining = self._book.holding(self._lineage.causes_of(name), window.start_us - DAY_US, window.end_us)
            if explaining is not None:
                window.spoiled.add(name)
            speaks, found = self._limit_of(name, window)
            measured = found[1].measure(window.profiles[name]) if found is not None else None
            looked[name] = explaining, speaks, measured
            if measured is not None and explaining is None:
                self.levels.note(name, window.start_us, window.end_us, measured.ratio)
        ratios = {name: measured.ratio for name, (_, _, measured) in looked.items() if measured and measured.moved}
        self._order = self.levels.ordered(ratios) if len(ratios) > 1 else []
        for name, (explaining, speaks, measured) in looked.items():
            moved = measured is not None and measured.moved
            if self._trailing and explaining is None:
                accepted = self._trailing[name].keep(window.start_us, window.end_us, window.profiles[name], moved)
                if accepted:
                    settled.append(name)
                    continue
            if measured is None:
                continue
            if moved:
                restless.add(name)
            if moved and explaining is not None:
                if name not in explaining.moved:
                    explaining.moved.add(name)
                    self._book.update(explaining, window.end_us, self._told(name, measured, window))
                moved = False
            if moved and self._persistence.moved(name, window):
                if speaks:
                    self._blame_the_world(name, measured, window)
            elif not moved and self._persistence.calm(name, window):
                settled.append(name)
        for name in settled:  # last, so that what moves now can join the incident of what moved before
            self._settle(name, window.end_us)
        if window.rows is not None:
            self._calm.add(window.rows, frozenset(restless | window.spoiled))

    def _limit_of(self, name: str, window: Window) -> tuple[bool, tuple[str, Limit] | None]:
        """Whether a move may be told as an incident; and what a window is compared with, and what that is called, if anything.

        Before there is history enough, and where no window could pass a limit, it may not: the rule's own limit says what is
        told within the incident of a source.
        """
        found = self._usual(name, window)
        if found is not None and not self.levels.knows(name):
            self.levels.past(name, self._past(name, window.start_us, found[1]))
        raised = self.levels.raised(name, window.start_us)
        if found is None or raised is None or math.isinf(raised):
            return False, found
        limit = replace(found[1], raised=raised)
        return self._can_fire(name, limit), (found[0], limit)

    def _can_fire(self, name: str, limit: Limit) -> bool:
        can = limit.can_fire
        self.blind = sorted({*self.blind, name} if not can else {*self.blind} - {name})
        return can

    def _past(self, name: str, before_us: int, limit: Limit) -> list[PastWindow]:
        """The good windows before the first one that is judged."""
        if self._trailing:
            windows = [(start_us, end_us, profile) for start_us, end_us, profile in self._trailing[name].kept]
            matched: Mapping[int, float] = {}
        else:
            windows = [
                (one.start_us, one.end_us, one.profiles[name])
                for one in self.windows.past
                if one.end_us <= before_us and name not in one.spoiled
            ]
            matched = self._matched[name].distances if name in self._matched else {}
        return [
            PastWindow(
                start_us,
                end_us,
                matched[start_us] if start_us in matched else apart_without(limit.reference, profile),
                profile.null_share,
                profile.n,
            )
            for start_us, end_us, profile in windows
            if not matched or start_us in matched
        ]

    def _usual(self, name: str, window: Window) -> tuple[str, Limit] | None:
        if self._trailing:
            trailing = self._trailing[name].limit(window.start_us)
            return None if trailing is None else ("last four weeks", trailing)
        trained = self._limits_at(window.start_us).get(name)
        if trained is None:
            return None
        matched = self._matched[name].limit(window.start_us) if name in self._matched else None
        return ("training", trained) if matched is None else (f"training, {matched[0]}", matched[1])

    def _told(self, name: str, measured: Measured, window: Window) -> dict[str, Any]:
        """What is told of a feature that moved; where others moved in the same window, in which order to look at them."""
        order = {"order": self._order} if self._order else {}
        return {"moved": {name: self._evidence(name, measured, window)}, **order}

    def _evidence(self, name: str, measured: Measured, window: Window) -> dict[str, Any]:
        _, found = self._limit_of(name, window)
        assert found is not None  # the window was measured by it
        return {**evidence_of(name, measured, found[1], window, self._calm.of(name)), "reference": found[0]}

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
        self._matched = {}
        for name, profile in reference.profiles.items():
            good = [window for window in before if name not in window.spoiled]
            span_us = good[-1].end_us - good[0].start_us if good else 0
            if name in self._lineage.features and profile.n and span_us >= DAYS_LEARNED * DAY_US:
                limits[name] = Limit.calibrated(profile, [window.profiles[name] for window in good])
                if self._is_matched:
                    slotted = [(window.start_us, window.profiles[name]) for window in good]
                    self._matched[name] = Matched(self.windows.window_us, slotted)
        return limits

    def _blame_the_world(self, name: str, measured: Measured, window: Window) -> None:
        at_us = window.end_us
        causes = self._lineage.causes_of(name)
        for incident in self._incidents:
            if incident.closed_at_us is None and (name in incident.moved or self._shares_a_source(incident, causes)):
                if name not in incident.moved:
                    incident.moved.add(name)
                    self._book.update(incident, at_us, self._told(name, measured, window))
                return
        told = {**self._told(name, measured, window), "history_days": self.levels.days}
        finding = Finding("world_changed", measured.extent, told)
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
