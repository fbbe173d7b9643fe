"""The checks that monitors are declared with, as values, and the calls that make them.

Loads no numpy: declaring costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from samestream.schemas import durations
from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Kind
from samestream.schemas.fields import Field


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
    """The sources are watched: what events say, and whether they come soon, once, and from every partition."""


@dataclass(frozen=True)
class Silence:
    """The sources are watched for saying nothing, but for reference tables, which speak only when something changes.

    longer_than : shortest silence that counts, such as ``"2h"``; a source's usual silences are learned and never count.
    by : (event, field) of fields by whose values a source is watched as well: one of them may be silent while others speak.
    """

    longer_than: str
    by: tuple[tuple[str, str], ...] = ()

    def fields_of(self, event: str) -> tuple[str, ...]:
        """The fields of an event by whose values it is watched."""
        return tuple(name for of, name in self.by if of == event)

    @property
    def longer_than_us(self) -> int:
        """Shortest silence that counts, in microseconds.

        Raises DeclarationError if `longer_than` is no duration.
        """
        return durations.parse(self.longer_than)


@dataclass(frozen=True)
class Profiles:
    """Features, scores and fields of sources are profiled, by windows of event time, and features by segments, too.

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
class Filters:
    """What an incident about a source, features or scores must come to before it is opened.

    lasting : for how long what is wrong must have held, such as ``"30m"``; empty for not at all. min_rows : how many events of the
    source must have shown it, or vectors a window.
    """

    lasting: str = ""
    min_rows: int = 0

    @property
    def lasting_us(self) -> int:
        """The same in microseconds. Raises DeclarationError if `lasting` is no duration."""
        return durations.parse(self.lasting) if self.lasting else 0


NO_FILTERS = Filters()


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
    """Watch what sources say (range, unit, frozen, zeros, nulls, ...), and whether events are late, repeated or lack a partition.

    A field's ``low`` and ``high`` are the range that is watched; its ``unit`` says which mistakes of units are looked for.
    """
    return Quality()


def silence(longer_than: str, by: Field[Any] | tuple[Field[Any], ...] = ()) -> Silence:
    """Watch sources for silences longer than this and longer than they ever were.

    by : fields of events that feed the model, such as ``Departure.carrier``: each of their values is watched for being silent
        while others speak. Whether the event feeds it is seen when the monitor starts.
    Raises DeclarationError for what is no field of an event that holds texts or whole numbers.
    """
    fields = by if isinstance(by, tuple) else (by,)
    for one in fields:
        if not isinstance(one, Field) or not hasattr(one, "event") or one.kind not in (Kind.STRING, Kind.INT):
            raise DeclarationError(
                "groups are told apart by a field of an event",
                where="silence(by=...)",
                found=repr(one),
                expected="a field of texts or whole numbers",
                hint='silence(longer_than="2h", by=Departure.carrier).',
            )
    return Silence(longer_than, tuple((one.event.__name__, one.name) for one in fields))


def profiles(window: str = "1d", by: str | tuple[str, ...] = ()) -> Profiles:
    """Profile features, scores and fields of sources by windows of event time of this length. It decides nothing.

    by : names of inputs of the model, each of whose values is a segment in which features have profiles of their own.
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
    """Watch whether chances are what they say, over windows of label time of this length.

    A window needs 200 labels. Numbers have no chances: of a model that predicts one this is refused. Where `performance` is
    declared as well, the shorter window is that of both.
    """
    return Calibration(window)
