"""Incidents: opened, updated, closed; one cause, one incident, however many features it spoils."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from samestream.monitors.diagnosis import VERDICTS, command, instant

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
CALM_US = 6 * HOUR_US
"""A source incident closes when its condition has been gone for so long in known time."""

PARITY = "online against offline"


@dataclass(frozen=True)
class Lineage:
    """What the features of a model are computed from.

    features : in the order of the model. sources : feature -> (event, field) pairs; a bare count gives ``(event, "")``.
    """

    model: str
    features: tuple[str, ...]
    sources: Mapping[str, tuple[tuple[str, str], ...]]

    def causes_of(self, feature: str) -> tuple[str, ...]:
        """What can spoil a feature: ``Event.field`` for each field it reads, then each event."""
        pairs = self.sources.get(feature, ())
        fields = [f"{event}.{name}" for event, name in pairs if name]
        return tuple(dict.fromkeys([*fields, *(event for event, _ in pairs)]))

    def affected_by(self, cause: str) -> list[str]:
        """Features that a cause (``Event.field`` or ``Event``) can spoil, in the order of the model."""
        return [feature for feature in self.features if cause in self.causes_of(feature)]

    def subject(self, features: Sequence[str]) -> str:
        """The subject of an incident: the first of these features, or the score where there is none."""
        return f"{self.model}.{features[0]}" if features else f"{self.model}.score"


@dataclass(frozen=True)
class IncidentRecord:
    """One record of the drift topic.

    severity : 0 to 1. opened_at_us, at_us : known time, microseconds UTC. evidence : what JSON holds.
    """

    incident: str
    event: Literal["open", "update", "close"]
    subject: str
    cause: str
    verdict: str
    severity: float
    opened_at_us: int
    at_us: int
    evidence: Mapping[str, Any]


RIPE_EVENTS = 50
"""Evidence of events is told anew, once, when so many came since its verdict was told, and `Finding.ripens_us` has passed."""


@dataclass(frozen=True)
class Finding:
    """A condition that holds now.

    extent : how much of what could be wrong is wrong, 0 to 1. score : nats by which it explains what is seen.
    since_us : known time from which it held, microseconds UTC; None if only the instant of the look is known.
    named : what it is about, of several things of one cause: an incident is told anew when another joins.
    stopped_us : known time of the last that came, where what is wrong is that nothing comes; causes that stopped together are one.
    teller : makes all evidence of `evidence` and of the instant from which shares are told (None when it is told first). It costs
    more than a look, and what it tells grows for a while: it is told anew then. seen : events that there were so far.
    ripens_us : how long it grows.
    """

    verdict: str
    extent: float
    evidence: Mapping[str, Any]
    score: float = 0.0
    since_us: int | None = None
    named: frozenset[str] = frozenset()
    stopped_us: int | None = None
    teller: Callable[[Mapping[str, Any], int | None], Mapping[str, Any]] | None = field(
        default=None, compare=False, repr=False
    )
    seen: int = 0
    ripens_us: int = HOUR_US

    def whole(self, since_us: int | None = None) -> Mapping[str, Any]:
        """All evidence. since_us : known time from which shares are told, where it is told anew."""
        return self.evidence if self.teller is None else self.teller(self.evidence, since_us)

    @property
    def severity(self) -> float:
        """Weight of the verdict times the extent, rounded to three places."""
        return round(VERDICTS[self.verdict].weight * min(max(self.extent, 0.0), 1.0), 3)


MARGIN = 5.0
"""Nats by which another explanation must be better than the one told before it is told instead."""


def _weight(finding: Finding) -> tuple[int, float, float, str]:
    return VERDICTS[finding.verdict].rank, finding.score, finding.severity, finding.verdict


@dataclass
class Incident:
    """An incident and what was said of it; `told` holds (at_us, verdict, severity), one for each change.

    score : the most nats by which the verdict told explained what was seen. affected : features that it spoils or may spoil;
    none where it concerns the score. stopped_us : see `Finding`, of the first. joined : causes that stopped with the first.
    unripe : when its verdict was told and how many events there were, until its evidence is told anew (`is_retold`).
    """

    identity: str
    place: str
    subject: str
    cause: str
    opened_at_us: int
    told: list[tuple[int, str, float]]
    closed_at_us: int | None = None
    calm_since_us: int | None = None
    moved: set[str] = field(default_factory=set)
    score: float = 0.0
    affected: tuple[str, ...] = ()
    named: frozenset[str] = frozenset()
    stopped_us: int | None = None
    joined: tuple[str, ...] = ()
    unripe: tuple[int, int] | None = None
    is_retold: bool = False

    def tell(self, finding: Finding, at_us: int) -> None:
        """Take note of a verdict that is told, whose evidence will be riper later."""
        if not self.is_retold:
            self.unripe = None if finding.teller is None else (at_us, finding.seen)

    def ripened(self, findings: Sequence[Finding], at_us: int) -> Finding | None:
        """The finding whose evidence is to be told anew, if one is."""
        if self.unripe is None:
            return None
        since_us, seen = self.unripe
        same = [one for one in findings if one.verdict == self.told[-1][1] and one.teller is not None]
        best = max(same, key=_weight, default=None)
        ripe = best is not None and at_us - since_us >= best.ripens_us and best.seen - seen >= RIPE_EVENTS
        return best if ripe else None

    @property
    def causes(self) -> tuple[str, ...]:
        """All that it is about, in the order in which it was found."""
        return self.cause, *self.joined

    def at(self, at_us: int) -> tuple[str, float]:
        """Verdict and severity as they were at an instant, for families of monitors look at it at their own pace."""
        said = [(verdict, severity) for told_us, verdict, severity in self.told if told_us <= at_us]
        return said[-1]

    def holds(self, from_us: int, until_us: int) -> bool:
        """True if it was open at any time after `from_us` and up to `until_us`, judged by what was known then."""
        closed = self.closed_at_us is not None and self.closed_at_us <= until_us
        return self.opened_at_us <= until_us and not (closed and (self.closed_at_us or 0) <= from_us)


class IncidentBook:
    """All incidents of one model, and the records not yet asked for.

    budget : alarms a week that were declared; limits keep it (`monitors.budget`), and here it is told beside what came of it.
    """

    def __init__(self, lineage: Lineage, budget: float) -> None:
        self.lineage, self.budget = lineage, budget
        self._open: dict[tuple[str, str], Incident] = {}  # by place and cause: the families never mix
        self._all: list[Incident] = []
        self._records: list[IncidentRecord] = []
        self._importance: list[tuple[int, Mapping[str, float]]] = []

    def add_importance(self, applies_from_us: int, importance: Mapping[str, float]) -> None:
        """Take note of what each feature is to a version of the model: shares of all, or nothing where it is not known."""
        self._importance.append((applies_from_us, importance))
        self._importance.sort(key=lambda known: known[0])

    def importance(self, incident: Incident, at_us: int) -> float | None:
        """What an incident touches of the model that applied just before an instant, 0 to 1; None where that is not known.

        The features that it may spoil weigh what they are to the model, together; those that moved, where it is about features.
        The score is all of it.
        """
        # what moved because of a source is among what that may spoil; and it is found out at another pace
        features = {*incident.affected, *(incident.moved if incident.place == "features" else ())}
        if not features:
            return 1.0
        applying = [importance for since_us, importance in self._importance if since_us < at_us]
        if not applying or not applying[-1]:
            return None
        return round(min(sum(applying[-1].get(name, 0.0) for name in sorted(features)), 1.0), 3)

    def records(self) -> list[IncidentRecord]:
        """What was recorded since the last call, ordered by the instant it is about."""
        records, self._records = self._records, []
        return sorted(records, key=lambda record: (record.at_us, record.opened_at_us, record.cause, record.incident))

    def observe(
        self,
        cause: str,
        findings: Sequence[Finding],
        at_us: int,
        *,
        place: str = "source",
        affected: Sequence[str] | None = None,
    ) -> bool:
        """Say what is wrong with a cause at an instant; nothing, if nothing is. Returns whether an incident is open then.

        Opens an incident, or joins that of a cause that stopped within an hour of this one; tells a verdict of higher rank or one
        that explains more by `MARGIN` nats, and evidence anew once it is ripe; and closes it when nothing was wrong for six hours.
        Instants of one cause do not decrease. affected : features; by default those computed from the cause.
        """
        incident = self._open.get((place, cause))
        if not findings:
            if incident is not None:
                self._calm(incident, at_us)
            return (place, cause) in self._open
        best = max(findings, key=_weight)
        stopped_us = min((one.stopped_us for one in findings if one.stopped_us is not None), default=None)
        if incident is not None and cause in incident.joined and stopped_us is None:
            self._leave(incident, cause)
            incident = None
        if incident is None:
            affected = self.lineage.affected_by(cause) if affected is None else affected
            if stopped_us is not None and (other := self._stopped_with(stopped_us, place)) is not None:
                self._join(other, cause, best, affected, at_us)
                return True
            since = [finding.since_us for finding in findings if finding.since_us is not None]
            opened = self.open(cause, best, min([at_us, *since]), affected)
            opened.score, opened.named, opened.stopped_us = best.score, best.named, stopped_us
            opened.tell(best, at_us)
            return True
        if stopped_us is not None and (incident.stopped_us is None or incident.calm_since_us is not None):
            incident.stopped_us = stopped_us
        incident.calm_since_us = None
        told = incident.told[-1][1]
        incident.score = max([incident.score, *(finding.score for finding in findings if finding.verdict == told)])
        above = VERDICTS[best.verdict].rank - VERDICTS[told].rank
        if above > 0 or (above == 0 and best.verdict != told and best.score > incident.score + MARGIN):
            incident.score = best.score
            incident.told.append((at_us, best.verdict, best.severity))
            incident.tell(best, at_us)
            self._record("update", incident, at_us, {**best.whole(), "verdict_before": told})
        elif best.verdict == told and best.named - incident.named:
            self._record("update", incident, at_us, best.whole())
        elif (ripe := incident.ripened(findings, at_us)) is not None:
            self._retell(incident, ripe, at_us)
        incident.named |= best.named
        return True

    def _retell(self, incident: Incident, finding: Finding, at_us: int) -> None:
        """Tell the evidence of an incident as it is now: of more events than those that it was opened for."""
        assert incident.unripe is not None
        since_us, seen = incident.unripe
        incident.unripe, incident.is_retold = None, True
        grown = {"told_anew_after_events": finding.seen - seen}
        self._record("update", incident, at_us, {**finding.whole(since_us), **grown})

    def open(self, cause: str, finding: Finding, at_us: int, affected: Sequence[str]) -> Incident:
        """Open an incident for a cause that has none open."""
        subject = self.lineage.subject(affected)
        place = VERDICTS[finding.verdict].place
        identity = hashlib.sha256(f"{place}|{subject}|{cause}|{at_us}".encode()).hexdigest()[:16]
        incident = Incident(identity, place, subject, cause, at_us, [(at_us, finding.verdict, finding.severity)])
        incident.affected = tuple(affected)
        self._open[place, cause] = incident
        self._all.append(incident)
        self._record("open", incident, at_us, {"affected": list(affected), **finding.whole()})
        return incident

    def update(self, incident: Incident, at_us: int, evidence: Mapping[str, Any]) -> None:
        """Tell more about an incident, unless it was closed by then."""
        if incident.closed_at_us is None or incident.closed_at_us > at_us:
            self._record("update", incident, at_us, evidence)

    def close(self, incident: Incident, at_us: int) -> None:
        """Close an open incident."""
        incident.closed_at_us = at_us
        for cause in incident.causes:
            del self._open[incident.place, cause]
        open_hours = (at_us - incident.opened_at_us) / HOUR_US
        self._record("close", incident, at_us, {"open_hours": round(open_hours, 2)})

    def holding(self, causes: Iterable[str], from_us: int, until_us: int, place: str = "source") -> Incident | None:
        """The earliest incident of any of these causes that held at any time after `from_us`, up to `until_us`."""
        wanted = {(place, cause) for cause in causes}
        found = [
            known
            for known in self._all
            if any((known.place, cause) in wanted for cause in known.causes) and known.holds(from_us, until_us)
        ]
        return min(found, key=lambda incident: (incident.opened_at_us, incident.cause), default=None)

    def _stopped_with(self, stopped_us: int, place: str) -> Incident | None:
        """The first open incident about something that stopped within an hour of an instant, by known time."""
        found = [
            one
            for one in self._open.values()
            if one.place == place and one.stopped_us is not None and abs(one.stopped_us - stopped_us) <= HOUR_US
        ]
        return min(found, key=lambda incident: (incident.opened_at_us, incident.cause), default=None)

    def _join(self, incident: Incident, cause: str, finding: Finding, affected: Sequence[str], at_us: int) -> None:
        """Take another cause into an open incident, and say so."""
        incident.joined = (*incident.joined, cause)
        incident.affected = tuple(dict.fromkeys([*incident.affected, *affected]))
        incident.calm_since_us = None
        self._open[incident.place, cause] = incident
        joined = {"joined_by": cause, "affected": list(incident.affected)}
        self._record("update", incident, at_us, {**finding.whole(), **joined})

    def _leave(self, incident: Incident, cause: str) -> None:
        """Take a cause out that has not stopped any more: what is wrong with it now is its own."""
        incident.joined = tuple(one for one in incident.joined if one != cause)
        del self._open[incident.place, cause]

    def _calm(self, incident: Incident, at_us: int) -> None:
        if incident.calm_since_us is None:
            incident.calm_since_us = at_us
        elif at_us - incident.calm_since_us >= CALM_US:
            self.close(incident, at_us)

    def _record(
        self, event: Literal["open", "update", "close"], incident: Incident, at_us: int, evidence: Mapping[str, Any]
    ) -> None:
        verdict, severity = incident.at(at_us)
        row = VERDICTS[verdict]
        told: dict[str, Any] = {
            "meaning": row.meaning,
            "advice": row.advice,
            "place": row.place,
            "opened_at": instant(incident.opened_at_us),
            "at": instant(at_us),
            "alarms_per_week_declared": self.budget,
            "incidents_of_28_days": sum(
                other.place == incident.place and at_us - 28 * DAY_US < other.opened_at_us <= at_us
                for other in self._all
            ),
            "command": command(incident.identity),
        }
        if (importance := self.importance(incident, at_us)) is not None:
            told["importance"] = importance
        self._records.append(
            IncidentRecord(
                incident=incident.identity,
                event=event,
                subject=incident.subject,
                cause=incident.cause,
                verdict=verdict,
                severity=severity,
                opened_at_us=incident.opened_at_us,
                at_us=at_us,
                evidence={**evidence, **told},
            )
        )
