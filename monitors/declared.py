"""What a user writes to have a model watched: values, collected and checked when the class is made.

Loads no numpy: declaring costs nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from samestream.monitors.checks import (
    DETECTORS,
    NO_FILTERS,
    REFERENCES,
    Calibration,
    Check,
    Drift,
    Filters,
    Parity,
    Performance,
    Profiles,
    Quality,
    Silence,
    calibration,
    drift,
    parity,
    performance,
    profiles,
    quality,
    silence,
)
from samestream.schemas.calendar import check_zone
from samestream.schemas.errors import DeclarationError
from samestream.schemas.models import Model

__all__ = [
    "DETECTORS",
    "REFERENCES",
    "Calibration",
    "Check",
    "Declared",
    "Drift",
    "Filters",
    "Monitors",
    "Parity",
    "Performance",
    "Profiles",
    "Quality",
    "Silence",
    "calibration",
    "drift",
    "parity",
    "performance",
    "profiles",
    "quality",
    "silence",
]

LONGEST_HISTORY_DAYS = 365
"""A budget for which any of what is watched would need a longer history is refused: nobody waits so long to be told."""
_SURELY_SOON = 0.2
"""Alarms a week from which everything may speak within that time, so that nothing need be loaded to say so."""
_DAY_US = 24 * 3_600_000_000
_WEEKS = {"hour": 1 / 168, "day": 1 / 7, "week": 1.0, "month": 30 / 7}


@dataclass(frozen=True)
class Declared:
    """What a subclass of Monitors declares.

    alarms_per_week : incidents a week the user accepts, above 0.
    filters : what an incident about a source, features or scores must come to before it is opened.
    zone : the time zone in whose hours sources live.
    """

    of: type[Model]
    alarms_per_week: float
    features: tuple[Check, ...] = ()
    scores: tuple[Check, ...] = ()
    filters: Filters = NO_FILTERS
    zone: str = "UTC"

    @property
    def name(self) -> str:
        """Name of the model watched."""
        return self.of.__name__


class Monitors:
    """How a model is watched; a subclass declares `features`, `scores` or both.

    ``alarms`` is the number of alarms the user accepts, such as ``"1/week"`` (hour, day, week, month of 30 days).
    ``lasting`` and ``min_rows`` hold an incident about a source, features or scores back until what is wrong has held for so long
    (``"30m"``) and for so many events or vectors; parity and labels speak at once.
    ``zone`` is the time zone in whose hours people live (``"America/New_York"``): what is usual of a source is learned by its
    hours, and when it is silent, too, so that an evening stays an evening when clocks are changed.
    The declaration is kept in ``__monitors__``.

    Raises DeclarationError, when the class is made, for anything that does not mean a monitor.
    """

    __monitors__: ClassVar[Declared]

    def __init_subclass__(
        cls,
        *,
        of: Any = None,
        alarms: Any = "1/week",
        lasting: Any = None,
        min_rows: Any = 0,
        zone: Any = "UTC",
        **options: Any,
    ) -> None:
        here = cls.__name__
        if options or not (isinstance(of, type) and issubclass(of, Model)):
            raise DeclarationError(
                "monitors need the model they watch",
                where=here,
                found=", ".join(options) or f"of={getattr(of, '__name__', repr(of))}",
                expected="of=a Model class",
                hint=f'class {here}(Monitors, of=LateArrival, alarms="1/week").',
            )
        declared = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
        for name, value in declared.items():
            if name not in _ALLOWED:
                raise DeclarationError(
                    "only features and scores are monitored",
                    where=f"{here}.{name}",
                    found=repr(value),
                    expected="an attribute named features or scores",
                    hint='scores = drift(window="1d").',
                )
        if not declared:
            raise DeclarationError(
                "nothing is monitored",
                where=here,
                found="none",
                expected="an attribute named features or scores",
                hint='say what to watch: features = parity(), drift(window="1d").',
            )
        checks = {name: _checks(f"{here}.{name}", _ALLOWED[name], value) for name, value in declared.items()}
        _check_segments(here, of, checks.get("features", ()))
        _check_references(here, checks)
        _check_outcomes(here, of, checks.get("scores", ()))
        filters = _filters(here, lasting, min_rows)
        check_zone(zone, f"{here}, zone")
        per_week = _per_week(here, alarms)
        found = Declared(of=of, alarms_per_week=per_week, filters=filters, zone=zone, **checks)
        if per_week < _SURELY_SOON:
            _check_history(here, alarms, found)
        cls.__monitors__ = found


_ALLOWED: dict[str, tuple[type, ...]] = {
    "features": (Parity, Drift, Quality, Silence, Profiles),
    "scores": (Drift, Performance, Calibration),
}
_LENGTHS: tuple[tuple[type, str, Callable[[Any], int]], ...] = (
    (Profiles, "window", lambda check: int(check.window_us)),
    (Performance, "window", lambda check: int(check.window_us)),
    (Calibration, "window", lambda check: int(check.window_us)),
    (Drift, "window", lambda check: int(check.window_us)),
    (Silence, "longer_than", lambda check: int(check.longer_than_us)),
)


def _checks(where: str, allowed: tuple[type, ...], value: Any) -> tuple[Check, ...]:
    checks = value if isinstance(value, tuple) else (value,)
    names = ", ".join(f"{kind.__name__.lower()}()" for kind in allowed)
    for check in checks:
        if not isinstance(check, allowed):
            raise DeclarationError(
                "this is not a check that can be made here",
                where=where,
                found=repr(check),
                expected=names,
                hint="write the calls, separated by commas.",
            )
        for kind, option, length_of in _LENGTHS:
            if isinstance(check, kind):
                _check_length(where, f"{kind.__name__.lower()}({option}=...)", check, length_of)
    kinds = [type(check) for check in checks]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise DeclarationError(
                f"{kind.__name__.lower()}() is declared twice",
                where=where,
                found=repr(checks),
                expected="each check at most once",
                hint="keep the one you mean.",
            )
    return checks


def _check_segments(here: str, model: type[Model], checks: tuple[Check, ...]) -> None:
    for check in checks:
        unknown = [name for name in check.by if name not in model.inputs] if isinstance(check, Profiles) else []
        if unknown:
            raise DeclarationError(
                "segments are made by the inputs of the model",
                where=f"{here}.features, profiles(by=...)",
                found=", ".join(map(str, unknown)),
                expected=", ".join(model.inputs),
                hint="make the field an input, or leave `by` out.",
            )


def _check_references(here: str, checks: Mapping[str, tuple[Check, ...]]) -> None:
    for place, declared in checks.items():
        for check in declared:
            if not isinstance(check, Drift) or check.reference == "training":
                continue
            hint = 'drift("1h", reference="matched") compares each hour with the same hour of the week.'
            if check.reference not in REFERENCES:
                problem, expected = "there is no such reference", ", ".join(REFERENCES)
            elif place == "scores":
                problem, expected = "only of features the reference can be chosen", "training"
                hint = "leave `reference` out: scores are compared with those of the training rows, or with the last windows."
            elif check.reference == "matched" and _DAY_US % check.window_us:
                problem, expected = "a window that does not divide a day has no time of the day", "such as 1h, 6h or 1d"
            else:
                continue
            raise DeclarationError(problem, where=f"{here}.{place}", found=repr(check), expected=expected, hint=hint)


def _check_outcomes(here: str, model: type[Model], checks: tuple[Check, ...]) -> None:
    output = model.outcome.output
    for check in checks:
        if isinstance(check, Calibration) and output == "number":
            problem, expected = "only chances can be calibrated", "a model of a condition or of a class"
            hint = "performance() tells error and bias of a number."
        elif isinstance(check, Performance) and "ddm" in check.detectors and output != "class":
            problem, expected = "ddm takes errors of 0 and 1", "a model of a class"
            hint = 'performance(detectors=("change", "adwin")) takes errors of any size.'
        else:
            continue
        raise DeclarationError(
            problem,
            where=f"{here}.scores",
            found=f"{check!r} of a model that predicts a {output}",
            expected=expected,
            hint=hint,
        )


def _check_length(where: str, what: str, check: Any, length_of: Callable[[Any], int]) -> None:
    try:
        length_us = length_of(check)
    except DeclarationError as error:
        raise DeclarationError(
            f"the length in {what} was not understood",
            where=where,
            found=repr(check),
            expected="a number and a unit, one of us ms s m h d w",
            hint='write for example "2h" or "1d".',
        ) from error
    if length_us <= 0:
        raise DeclarationError(
            f"the length in {what} must be above zero",
            where=where,
            found=repr(check),
            expected="more than 0",
            hint='write for example "2h".',
        )


def _filters(here: str, lasting: Any, min_rows: Any) -> Filters:
    if isinstance(min_rows, bool) or not isinstance(min_rows, int) or min_rows < 0:
        raise DeclarationError(
            "rows are counted",
            where=f"{here}, min_rows",
            found=repr(min_rows),
            expected="a whole number, 0 or more",
            hint="min_rows=50 opens an incident once fifty events, or vectors, show it.",
        )
    filters = Filters("" if lasting is None else lasting, min_rows)
    if lasting is not None:
        _check_length(here, "lasting", lasting, lambda _: filters.lasting_us)
    return filters


def _per_week(where: str, alarms: Any) -> float:
    found = (
        re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*/\s*(hour|day|week|month)\s*", alarms) if isinstance(alarms, str) else None
    )
    if not found or float(found[1]) == 0:
        raise DeclarationError(
            "the alarm budget was not understood",
            where=f"{where}, alarms",
            found=repr(alarms),
            expected="a number above zero and hour, day, week or month",
            hint='alarms="1/week"; a budget of zero could never raise an alarm.',
        )
    per_unit = _WEEKS[found[2]]
    return float(found[1]) / per_unit


def _check_history(here: str, alarms: str, declared: Declared) -> None:
    """The smaller a budget, the longer the history from which it can be promised; below it nothing is told."""
    from samestream.monitors.families import families

    slow = [one for one in families(declared) if one.needed_days > LONGEST_HISTORY_DAYS]
    if slow:
        # days are inversely proportional to the budget, but for one; and windows longer than a day are counted whole
        longest = max(one.needed_days for one in slow) + 1
        least = math.ceil(100 * declared.alarms_per_week * longest / (LONGEST_HISTORY_DAYS - 6)) / 100
        raise DeclarationError(
            "with so small a budget nothing could be told for years",
            where=f"{here}, alarms",
            found=f"{alarms!r}: " + ", ".join(f"{one.name} after {one.needed_days:,} good days" for one in slow),
            expected=f"at most {LONGEST_HISTORY_DAYS} good days of history until everything that is watched may speak",
            hint=f'alarms="{least:g}/week" is about the least for this; what is not watched leaves its part to the rest.',
        )
