"""The calendar: fields of an instant in a declared zone, and the time between two instants."""

from __future__ import annotations

from typing import Any

from samestream.schemas.arithmetic import Subtract
from samestream.schemas.errors import DeclarationError
from samestream.schemas.kinds import Kind
from samestream.schemas.operation import Operation, kind_of


class CalendarField(Operation[Any]):
    """A whole number read off the calendar and clock of a zone; null where the local time is outside the years 1 to 9999.

    ``zone`` is a name of the IANA time zone database.
    """

    params = ("zone",)

    def __init__(self, value: Any, zone: str = "UTC") -> None:
        self.zone = zone
        super().__init__(value)
        check_zone(zone, repr(self))

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        if kinds[0] is not Kind.TIME:
            raise self.refuse("a time", "take it of a Field[datetime] or Field[date].")
        return Kind.INT

    def written_arguments(self) -> list[str]:
        """See `Operation.written_arguments`."""
        return [] if self.zone == "UTC" else [repr(self.zone)]


class Year(CalendarField):
    """The year."""

    written = "year"


class Month(CalendarField):
    """The month, 1 to 12."""

    written = "month"


class Day(CalendarField):
    """The day of the month, 1 to 31."""

    written = "day"


class Hour(CalendarField):
    """The hour, 0 to 23."""

    written = "hour"


class Minute(CalendarField):
    """The minute, 0 to 59."""

    written = "minute"


class Weekday(CalendarField):
    """The day of the week; Monday is 0."""

    written = "weekday"


class DayOfYear(CalendarField):
    """The day of the year, 1 to 366."""

    written = "day_of_year"


class SecondsBetween(Operation[Any]):
    """How many seconds the first time is after the second."""

    written, symbol = "seconds_since", "-"

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        if any(kind is not Kind.TIME for kind in kinds):
            raise self.refuse("two times", "the difference of two times is a number of seconds: compare that.")
        return Kind.FLOAT


def minus(left: Any, right: Any) -> Operation[Any]:
    """What ``left - right`` is: of times the seconds between them, of all else the difference."""
    return SecondsBetween(left, right) if Kind.TIME in (kind_of(left), kind_of(right)) else Subtract(left, right)


def check_zone(zone: str, where: str) -> None:
    """Raises DeclarationError unless the time zone database of this machine knows the zone."""
    if zone == "UTC":
        return
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(zone)
    except (TypeError, ValueError, OSError, KeyError) as error:
        import difflib

        known = zoneinfo.available_timezones()
        near = difflib.get_close_matches(str(zone), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "name a city, such as 'America/New_York'."
        if not known:
            hint = "this machine has no time zone database: pip install tzdata."
        raise DeclarationError(
            "no such time zone", where=where, found=repr(zone), expected="a name of the IANA database", hint=hint
        ) from error
