"""Times of one day, as people write them."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from samestream.schemas.errors import SettingsError


class Day:
    """Makes instants of clock times: ``Day("2026-05-01")("10:30")``.

    zone : an IANA time zone. Raises SettingsError for what is no date or no zone.
    """

    def __init__(self, day: str, zone: str = "UTC") -> None:
        try:
            self._date, self._zone = date.fromisoformat(day), ZoneInfo(zone)
        except (TypeError, ValueError, KeyError, OSError) as error:
            raise SettingsError(
                "this is no day", where="Day", found=f"{day!r} in {zone!r}", hint='Day("2026-05-01", "Europe/Berlin").'
            ) from error

    def __call__(self, clock: str, day: int = 1) -> datetime:
        """The instant at which the clock shows this, on the n-th day; 1 is the day itself.

        clock : hours and minutes, then seconds and their fraction if need be: ``"10:30"``, ``"10:30:00.250"``
        """
        try:
            shown = time.fromisoformat(clock)
            if shown.tzinfo is not None:
                raise ValueError("it has a zone of its own")
        except (TypeError, ValueError) as error:
            raise SettingsError(
                "this is no time of day", where="Day", found=repr(clock), hint='write "10:30" or "10:30:15.5".'
            ) from error
        return datetime.combine(self._date + timedelta(days=day - 1), shown, tzinfo=self._zone)

    def shown(self, instant: datetime) -> str:
        """An instant as this clock shows it, with the date where it is another one."""
        local = instant.astimezone(self._zone)
        clock = local.time().isoformat()
        return clock if local.date() == self._date else f"{local.date()} {clock}"
