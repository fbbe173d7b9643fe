"""What became of an alarm budget: incidents opened beside those declared, and what each part of it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from samestream.console.reading import instant
from samestream.monitors.achieved import Rate, rate
from samestream.monitors.budget_state import BudgetState, FamilyState
from samestream.monitors.declared import Declared
from samestream.monitors.families import families
from samestream.monitors.incidents import DAY_US
from samestream.streams.engine.measures import Measure

WEEK_US = 7 * DAY_US
LATELY_DAYS = (7, 28)
LEAST_WEEKS = 1.0
"""Of less time than the budget is counted by, no rate is told."""

_MOVES = "moves are told within incidents of sources alone"
_MEANWHILE = {
    "sources": "only declared ranges are held against them",
    "features": _MOVES,
    "scores": _MOVES,
    "outcomes": "nothing is told of them",
}


@dataclass(frozen=True)
class Spending:
    """The budget of one class of monitors, all its places together. Times are known times in microseconds UTC.

    per_week : declared. lately : by number of days, incidents opened in the last so many. opened : in all.
    since_us : of the first event watched, weeks : from then to the newest that is known; None, 0 before its monitor spoke
    """

    monitors: str
    model: str
    per_week: float
    lately: Mapping[int, int]
    opened: int
    since_us: int | None
    weeks: float
    families: tuple[FamilyState, ...]

    @property
    def rate(self) -> Rate | None:
        """What was achieved since the beginning; None in the first week."""
        return rate(self.opened, self.weeks) if self.weeks >= LEAST_WEEKS else None

    def measures(self) -> Iterator[Measure]:
        """The same for Prometheus."""
        labels = {"monitors": self.monitors, "model": self.model}
        says = "Incidents a week that were declared."
        yield Measure("alarms_declared_week", says, labels, self.per_week)
        for days, opened in self.lately.items():
            says = "Incidents opened in the last so many days of known time, in all places."
            yield Measure("alarms_opened", says, {**labels, "days": str(days)}, opened)
        if (found := self.rate) is not None:
            yield Measure("alarms_achieved_week", "Incidents a week since the beginning.", labels, found.per_week)
            says = "The ends of the interval of 95 % of that."
            yield Measure("alarms_achieved_week_bound", says, {**labels, "bound": "low"}, found.low)
            yield Measure("alarms_achieved_week_bound", says, {**labels, "bound": "high"}, found.high)

    def lines(self) -> Iterator[str]:
        """For people."""
        declared = f"{self.monitors} of {self.model}: {self.per_week:.3g} a week declared"
        lately = ", ".join(f"{opened} in {days} days" for days, opened in self.lately.items())
        if self.since_us is None:
            yield f"{declared}, {self.opened} opened; its monitor has not said yet what that rests on"
            return
        found = self.rate
        achieved = (
            "no rate yet"
            if found is None
            else f"{found.per_week:.2g} a week (95 %: {found.low:.2g} to {found.high:.2g})"
        )
        since = f"in the {self.weeks:.1f} weeks since {instant(self.since_us)}"
        yield f"{declared}, opened {lately}, and {self.opened} {since}: {achieved}"
        for one in self.families:
            if one.speaks:
                yield f"  {one.name}: {one.days} good days of history, {one.needed_days} are needed"
            else:
                days = f"{one.days} of {one.needed_days} good days of history"
                yield f"  {one.name}: learning, {days}; until then {_MEANWHILE[one.name]}"
            if one.blind:
                yield f"    blind: {', '.join(one.blind)}"


def spending(
    name: str, declared: Declared, opened_us: list[int], states: Mapping[str, BudgetState], now_us: int
) -> Spending:
    """What became of one budget.

    opened_us : when each of its incidents was opened. states : what its monitors last said, by their name.
    """
    mine = [
        states[owner] for owner in (f"monitor.{declared.name}", f"monitor.{declared.name}.outcomes") if owner in states
    ]
    told = {one.name: one for state in mine for one in state.families}
    since_us = next((state.since_us for state in mine if state.since_us is not None), None)
    return Spending(
        name,
        declared.name,
        declared.alarms_per_week,
        {days: sum(at_us > now_us - days * DAY_US for at_us in opened_us) for days in LATELY_DAYS},
        len(opened_us),
        since_us,
        0.0 if since_us is None else max(now_us - since_us, 0) / WEEK_US,
        tuple(
            told.get(one.name, FamilyState(one.name, one.per_week, 0, one.needed_days)) for one in families(declared)
        ),
    )
