"""What an alarm budget rests on now, as the monitors say it once a day in their journal entries.

There, and not in memory alone, because nobody can ask a process that is dead, and `samestream monitor` runs elsewhere. The
journal is written in the transaction of the batch, so what it says is of exactly the events that were judged; and whoever
reads incidents need not learn to pass over another kind of record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FamilyState:
    """One part of a budget. days, needed_days : good days of history, and those from which it may speak.

    blind : detectors that have no say, or could never alarm.
    """

    name: str
    per_week: float
    days: int
    needed_days: int
    blind: tuple[str, ...] = ()

    @property
    def speaks(self) -> bool:
        """Whether there is history enough."""
        return self.days >= self.needed_days


@dataclass(frozen=True)
class BudgetState:
    """All parts that one monitor keeps. at_us : known time that it is about. since_us : of the first event watched."""

    at_us: int
    since_us: int | None
    families: tuple[FamilyState, ...]

    def to_json(self) -> str:
        """As an entry of the journal keeps it."""
        return json.dumps({"budget": asdict(self)}, sort_keys=True)


def parse(text: str) -> BudgetState | None:
    """The state that `to_json` wrote; None for anything else."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("budget"), Mapping):
        return None
    told: Mapping[str, Any] = found["budget"]
    families = tuple(
        FamilyState(one["name"], one["per_week"], one["days"], one["needed_days"], tuple(one["blind"]))
        for one in told["families"]
    )
    return BudgetState(told["at_us"], told["since_us"], families)
