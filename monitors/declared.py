"""What a user writes to have a model watched: values, collected and checked when the class is made.

Loads no numpy: declaring costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from samestream.schemas import durations
from samestream.schemas.errors import DeclarationError
from samestream.schemas.models import Model

_DAY_US = 24 * 3_600_000_000
_WEEKS = {"hour": 1 / 168, "day": 1 / 7, "week": 1.0, "month": 30 / 7}


@dataclass(frozen=True)
class Parity:
    """Served features must equal what replaying the log gives, bit for bit; one mismatch is an incident.

    sample : the share of the keys that is compared, above 0 and at most 1; which keys follows from their hash.
    """

    sample: float = 1.0


REFERENCES = ("training", "matched", "trailing")


@dataclass(frozen=True)
class Drift:
    """Windows of values are compared with what the model was trained on.

    window : length of a window of known time, such as ``"1d"``. reference : with all that the model was trained on
    (``training``), or, of features, with the same time of the day and the week in the training period (``matched``) or with the
    last four weeks (``trailing``).
    """

    window: str
    reference: str = "training"

    def __repr__(self) -> str:
        said = "" if self.reference == "training" else f", reference={self.reference!r}"
        return f"Drift(window={self.window!r}{said})"

    @property
    def window_us(self) -> int:
        """Length of a window in microseconds.

        Raises DeclarationError if `window` is no duration.
        """
        return durations.parse(self.window)


@dataclass(frozen=True)
class Quality:
    """The sources are watched for values out of range, in another unit or frozen, and for events that come late."""


@dataclass(frozen=True)
class Silence:
    """The sources are watched for saying nothing, but for reference tables, which speak only when something changes.

    longer_than : shortest silence that counts, such as ``"2h"``; a source's usual silences are learned and never count.
    """

    longer_than: str

    @property
    def longer_than_us(self) -> int:
        """Shortest silence that counts, in microseconds.

        Raises DeclarationError if `longer_than` is no duration.
        """
        return durations.parse(self.longer_than)


@dataclass(frozen=True)
class Profiles:
    """Features and scores are profiled, by windows of event time, and by segments.

    window : length of a window, such as ``"1h"``. by : names of inputs of the model; each of their values is a segment.
    """

    window: str = "1d"
    by: tuple[str, ...] = ()

    @property
    def window_us(self) -> int:
        """Length of a window in microseconds.

        Raises DeclarationError if `window` is no duration.
        """
        return durations.parse(self.window)


DETECTORS = ("change", "adwin", "page_hinkley", "kswin", "ddm")


@dataclass(frozen=True)
class Performance:
    """Errors of predictions are watched as labels come: log-loss and AUC, or RMSE, or accuracy, by windows of label time.

    window : length of a window of label time. detectors : of the error stream; river's are calibrated like our own.
    """

    window: str = "1d"
    detectors: tuple[str, ...] = ("change",)

    @property
    def window_us(self) -> int:
        """Length of a window in microseconds.

        Raises DeclarationError if `window` is no duration.
        """
        return durations.parse(self.window)


@dataclass(frozen=True)
class Calibration:
    """What is given a chance of one in ten must happen one time in ten, as far as chance itself allows.

    window : length of a window of label time.
    """

    window: str = "1d"

    @property
    def window_us(self) -> int:
        """Length of a window in microseconds.

        Raises DeclarationError if `window` is no duration.
        """
        return durations.parse(self.window)


Check = Parity | Drift | Quality | Silence | Profiles | Performance | Calibration


@dataclass(frozen=True)
class Declared:
    """What a subclass of Monitors declares.

    alarms_per_week : incidents a week the user accepts, above 0.
    """

    of: type[Model]
    alarms_per_week: float
    features: tuple[Check, ...] = ()
    scores: tuple[Check, ...] = ()

    @property
    def name(self) -> str:
        """Name of the model watched."""
        return self.of.__name__


class Monitors:
    """How a model is watched; a subclass declares `features`, `scores` or both.

    ``alarms`` is the number of alarms the user accepts, such as ``"1/week"`` (hour, day, week, month of 30 days).
    The declaration is kept in ``__monitors__``.

    Raises DeclarationError, when the class is made, for anything that does not mean a monitor.
    """

    __monitors__: ClassVar[Declared]

    def __init_subclass__(cls, *, of: Any = None, alarms: Any = "1/week", **options: Any) -> None:
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
        cls.__monitors__ = Declared(of=of, alarms_per_week=_per_week(here, alarms), **checks)


def parity(sample: float = 1.0) -> Parity:
    """Compare what was served online with what the log says offline, key by key.

    sample : the share of the keys that is compared; the same keys each time, by their hash. 1 compares all.
    Raises DeclarationError unless it is above 0 and at most 1.
    """
    if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 < sample <= 1:
        raise DeclarationError(
            "a sample is a share of the keys",
            where="parity(sample=...)",
            found=repr(sample),
            expected="above 0 and at most 1",
            hint="parity(sample=0.1) compares a tenth of the keys, parity() all of them.",
        )
    return Parity(float(sample))


def drift(window: str, reference: str = "training") -> Drift:
    """Compare windows of this length with what the model was trained on.

    reference : ``"training"``: all of it. ``"matched"``: the same time of the day and the week (UTC), where the training period
        holds three such windows, else the same time of workdays or of weekends, else of any day; for windows that divide a day.
        ``"trailing"``: the last four weeks. The last two are for features.
    """
    return Drift(window, reference)


def quality() -> Quality:
    """Watch sources for bad values (range, unit, frozen) and late events."""
    return Quality()


def silence(longer_than: str) -> Silence:
    """Watch sources for silences longer than this and longer than they ever were."""
    return Silence(longer_than)


def profiles(window: str = "1d", by: str | tuple[str, ...] = ()) -> Profiles:
    """Profile features and scores by windows of event time of this length.

    by : names of inputs of the model, each of whose values is a segment with profiles of its own.
    """
    return Profiles(window, (by,) if isinstance(by, str) else tuple(by))


def performance(window: str = "1d", detectors: str | tuple[str, ...] = "change") -> Performance:
    """Watch how good predictions are, as labels come.

    window : length of a window of label time, over which figures are taken.
    detectors : of what gets worse, prediction by prediction: ``change`` (our own), or river's ``adwin``, ``page_hinkley``,
        ``kswin`` and (of classes) ``ddm``, each calibrated on history to the alarm budget. River's need ``samestream[monitors]``.
    Raises DeclarationError for a detector that there is not.
    """
    asked = (detectors,) if isinstance(detectors, str) else tuple(detectors)
    unknown = [name for name in asked if name not in DETECTORS]
    if unknown or not asked:
        raise DeclarationError(
            "no such detector of an error stream",
            where="performance(detectors=...)",
            found=", ".join(map(str, unknown)) or "none",
            expected=", ".join(DETECTORS),
            hint='performance() uses our own; performance(detectors=("change", "adwin")) asks river\'s, too.',
        )
    return Performance(window, asked)


def calibration(window: str = "1d") -> Calibration:
    """Watch whether chances are what they say, over windows of label time of this length."""
    return Calibration(window)


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
