"""How a declared alarm budget is divided, and after how many good days of history each part of it may speak."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from samestream.monitors.budget import OUTCOMES_SHARE, SOURCES_SHARE, shortest_days
from samestream.monitors.checks import Calibration, Check, Drift, Performance, Quality, Silence
from samestream.monitors.declared import Declared
from samestream.monitors.drift_budget import Share
from samestream.monitors.incidents import DAY_US
from samestream.monitors.sources import SHORTEST_DAYS


@dataclass(frozen=True)
class Family:
    """What shares one part of a budget: sources, features, scores or outcomes.

    per_week : incidents that it may open; features and scores have theirs together.
    needed_days : good days of history from which it may speak.
    """

    name: str
    per_week: float
    needed_days: int


def families(declared: Declared) -> list[Family]:
    """The parts of a budget, of what is declared only."""
    found = []
    if _has(declared.features, (Quality, Silence)):
        per_week = SOURCES_SHARE * declared.alarms_per_week
        found.append(Family("sources", per_week, max(SHORTEST_DAYS, shortest_days(per_week))))
    for name, checks in (("features", declared.features), ("scores", declared.scores)):
        for check in checks:
            if isinstance(check, Drift):
                share = Share.of(declared, is_scores=name == "scores")
                unit_days = max(DAY_US, check.window_us) / DAY_US
                found.append(Family(name, share.per_week, math.ceil(share.shortest(unit_days) * unit_days)))
    if _has(declared.scores, (Performance, Calibration)):
        per_week = OUTCOMES_SHARE * declared.alarms_per_week
        found.append(Family("outcomes", per_week, shortest_days(per_week)))
    return found


def _has(checks: Sequence[Check], kinds: tuple[type[Check], ...]) -> bool:
    return any(isinstance(check, kinds) for check in checks)
