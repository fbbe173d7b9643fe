"""Windows: which events of one key an aggregate is over at an instant t: those whose time lies in ``[start, t)``.

One class per kind of window. ``start`` is floored to the tile; an event at exactly t is outside (DESIGN section 2).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from samestream.schemas import durations
from samestream.schemas.durations import Duration
from samestream.schemas.errors import DeclarationError

# The largest tile that still cuts the window in sixty: a window then has 60 to a few hundred tiles (DESIGN section 2).
TILES_US = tuple(
    durations.parse(text)
    for text in ("1ms", "5ms", "20ms", "100ms", "500ms", "1s", "5s", "15s", "1m", "5m", "15m", "1h", "6h", "1d", "7d")
)
LEAST_TILES = 60
MOST_TILES = 2_000
MOST_SESSION_TILES = 100_000  # a session is seldom as long as it may be, and its tiles must not be longer than its gap
LIFETIME_US = 2**60  # 36,500 years: before everything, and far inside 64 bits with any time added
DAY_US = durations.UNITS_US["d"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PERIODS = {"1d": "day", "1w": "week", "1mo": "month"}
LONGEST_DAYS = {"day": 2, "week": 8, "month": 32}  # a day more than usual: clocks change, by a few hours at most


def default_tile_us(window_us: int) -> int:
    """The tile of a window for which none is declared, in microseconds.

    >>> default_tile_us(durations.parse("3h")) == durations.parse("1m")
    True
    """
    return _largest_tile([tile for tile in TILES_US if tile * LEAST_TILES <= window_us])


def _largest_tile(fitting: list[int]) -> int:
    return fitting[-1] if fitting else TILES_US[0]


@dataclass(frozen=True, repr=False)
class Window:
    """A kind of window with its lengths, all in microseconds; printed as users write it."""

    tile_us: int

    @property
    def longest_us(self) -> int:
        """How far before the instant it can begin, but for the flooring to the tile."""
        raise NotImplementedError

    @property
    def reach_us(self) -> int:
        """How far before the instant its earliest event can lie, the flooring included."""
        return self.longest_us + self.tile_us

    @property
    def default_tile_us(self) -> int:
        """Its tile if none is declared."""
        return default_tile_us(self.longest_us)

    @property
    def most_tiles(self) -> int:
        """How many tiles it may hold."""
        return MOST_TILES

    def start_us(self, t_us: int) -> int | None:
        """Where it begins at instant t, floored to the tile; None where that depends on the events."""
        return self.begin_us(t_us) // self.tile_us * self.tile_us

    def begin_us(self, t_us: int) -> int:
        """Where it begins at instant t before the flooring."""
        raise NotImplementedError

    def written(self) -> str:
        """The keywords that declare it, but for the tile."""
        raise NotImplementedError

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        return [type(self).__name__, *(getattr(self, field.name) for field in fields(self))]

    def __repr__(self) -> str:
        tile = "" if self.tile_us == self.default_tile_us else f", tile={durations.text(self.tile_us)!r}"
        return self.written() + tile


@dataclass(frozen=True, repr=False)
class Sliding(Window):
    """The last so and so long: ``over="3h"``."""

    length_us: int

    @property
    def longest_us(self) -> int:
        """See `Window.longest_us`."""
        return self.length_us

    def begin_us(self, t_us: int) -> int:
        """See `Window.begin_us`."""
        return t_us - self.length_us

    def written(self) -> str:
        """See `Window.written`."""
        return f"over={durations.text(self.length_us)!r}"


@dataclass(frozen=True, repr=False)
class Lifetime(Window):
    """Everything before the instant: ``over="lifetime"``."""

    @property
    def longest_us(self) -> int:
        """See `Window.longest_us`."""
        return LIFETIME_US

    @property
    def default_tile_us(self) -> int:
        """See `Window.default_tile_us`."""
        return DAY_US

    @property
    def most_tiles(self) -> int:
        """See `Window.most_tiles`: as many as there are days."""
        return LIFETIME_US

    def begin_us(self, t_us: int) -> int:
        """See `Window.begin_us`."""
        return t_us - LIFETIME_US

    def written(self) -> str:
        """See `Window.written`."""
        return "over='lifetime'"


@dataclass(frozen=True, repr=False)
class Tumbling(Window):
    """The period that the instant is in, so far; periods are counted from 1970 in UTC: ``every="1h"``."""

    every_us: int

    @property
    def longest_us(self) -> int:
        """See `Window.longest_us`."""
        return self.every_us

    @property
    def default_tile_us(self) -> int:
        """See `Window.default_tile_us`."""
        return _largest_tile(
            [tile for tile in TILES_US if tile * LEAST_TILES <= self.every_us and self.every_us % tile == 0]
        )

    def begin_us(self, t_us: int) -> int:
        """See `Window.begin_us`."""
        return t_us // self.every_us * self.every_us

    def written(self) -> str:
        """See `Window.written`."""
        return f"every={durations.text(self.every_us)!r}"


@dataclass(frozen=True, repr=False)
class Calendar(Window):
    """The local day, week (from Monday) or month that the instant is in, so far: ``every="1d", zone="Asia/Tokyo"``."""

    period: str
    zone: str

    @property
    def longest_us(self) -> int:
        """See `Window.longest_us`."""
        return LONGEST_DAYS[self.period] * DAY_US

    @property
    def default_tile_us(self) -> int:
        """See `Window.default_tile_us`: every zone has been at whole quarters of an hour since 1986."""
        return durations.parse("15m")

    @property
    def most_tiles(self) -> int:
        """See `Window.most_tiles`: a month of quarters of an hour."""
        return 4_000

    def begin_us(self, t_us: int) -> int:
        """See `Window.begin_us`."""
        zone = ZoneInfo(self.zone)
        day = (EPOCH + timedelta(microseconds=t_us)).astimezone(zone).date()
        if self.period == "week":
            day -= timedelta(days=day.weekday())
        elif self.period == "month":
            day = day.replace(day=1)
        return midnight_us(day, zone)

    def written(self) -> str:
        """See `Window.written`."""
        every = next(text for text, period in PERIODS.items() if period == self.period)
        return f"every={every!r}, zone={self.zone!r}"


@dataclass(frozen=True, repr=False)
class Session(Window):
    """The session that the instant is in: back to where two neighbouring rows are more than ``gap_us`` apart.

    The instant counts as a row. At most ``longest_us`` long. A tile is no longer than the gap, so that all rows in it
    are of one session.
    """

    gap_us: int
    over_us: int = DAY_US

    @property
    def longest_us(self) -> int:
        """See `Window.longest_us`."""
        return self.over_us

    @property
    def default_tile_us(self) -> int:
        """See `Window.default_tile_us`."""
        return _largest_tile([tile for tile in TILES_US if tile <= self.gap_us])

    @property
    def most_tiles(self) -> int:
        """See `Window.most_tiles`."""
        return MOST_SESSION_TILES

    def start_us(self, t_us: int) -> None:
        """See `Window.start_us`."""
        return

    def written(self) -> str:
        """See `Window.written`."""
        over = "" if self.over_us == DAY_US else f", over={durations.text(self.over_us)!r}"
        return f"session={durations.text(self.gap_us)!r}{over}"


def midnight_us(day: date, zone: ZoneInfo) -> int:
    """The first instant of a local day: midnight; where the clock jumps over midnight, the end of the jump.

    A midnight that comes twice counts the first time.
    """
    first, second = (
        (datetime(day.year, day.month, day.day, tzinfo=zone, fold=fold).astimezone(UTC) - EPOCH)
        // timedelta(microseconds=1)
        for fold in (0, 1)
    )
    if first <= second:
        return first
    while second < first:  # in a jump fold 0 lies after it, fold 1 before it
        middle = (second + first) // 2
        if (EPOCH + timedelta(microseconds=middle)).astimezone(zone).date() < day:
            second = middle + 1
        else:
            first = middle
    return first


def parse(
    here: str,
    *,
    over: Duration | None = None,
    every: Duration | None = None,
    zone: str | None = None,
    session: Duration | None = None,
    tile: Duration | None = None,
) -> Window:
    """The window that keywords declare; ``here`` names the declaration in errors. Raises DeclarationError."""
    asked = [name for name, value in (("over", over), ("every", every), ("session", session)) if value is not None]
    if asked not in (["over"], ["every"], ["session"], ["over", "session"]):
        raise DeclarationError(
            "an aggregate needs one window",
            where=here,
            found=" and ".join(f"{name}=" for name in asked) or "none",
            expected='over="1h", over="lifetime", every="1d" or session="30m"',
            hint='write over="1h" for the last hour; only a session may have over= beside it, its greatest length.',
        )
    if zone is not None and every is None:
        raise DeclarationError(
            "only a window with every= has a time zone",
            where=here,
            found=f"zone={zone!r}",
            hint='write every="1d" with it, or leave zone= out.',
        )
    window: Window
    if session is not None:
        gap_us, longest_us = _length(session, here), durations.parse(over, here) if over is not None else DAY_US
        window = Session(0, gap_us, longest_us)
        if longest_us < gap_us:
            raise DeclarationError(
                "a session is at least as long as its gap",
                where=here,
                found=f"session={durations.text(gap_us)!r}, over={durations.text(longest_us)!r}",
                hint='over= is the greatest length of a session, "1d" if left out.',
            )
    elif every is not None:
        window = _periodic(every, zone, here)
    elif over == "lifetime":
        window = Lifetime(0)
    else:
        assert over is not None
        window = Sliding(0, _length(over, here))
    return _tiled(window, tile, here)


def _length(text: Duration, here: str) -> int:
    length_us = durations.parse(text, here)
    if length_us < 1_000:
        raise DeclarationError(
            "a window is too short", where=here, found=repr(text), expected="1ms or more", hint='write over="1h".'
        )
    return length_us


def _periodic(every: Duration, zone: str | None, here: str) -> Window:
    period = PERIODS.get(every.strip()) if isinstance(every, str) else None
    if period is None and zone is not None:
        raise DeclarationError(
            "only days, weeks and months have a time zone",
            where=here,
            found=f"every={every!r}, zone={zone!r}",
            expected='every="1d", every="1w" or every="1mo"',
            hint="leave zone= out: other periods are counted from 1970 in UTC.",
        )
    if period is None or (period == "day" and zone is None):
        every_us = _length(every, here)
        if every_us % 1_000:
            raise DeclarationError(
                "a period is a whole number of milliseconds", where=here, found=repr(every), hint='write every="1h".'
            )
        return Tumbling(0, every_us)
    zone = zone if zone is not None else "UTC"
    try:
        ZoneInfo(zone)
    except Exception as error:  # it raises KeyError, ValueError or OSError, by the way a name is wrong
        raise DeclarationError(
            "no such time zone",
            where=here,
            found=repr(zone),
            expected="a name of the IANA time zone database",
            hint='write for example zone="America/New_York" or zone="UTC".',
        ) from error
    return Calendar(0, period, zone)


def _tiled(window: Window, tile: Duration | None, here: str) -> Window:
    """The window with its tile."""
    tile_us = durations.parse(tile, here) if tile is not None else window.default_tile_us
    values = {field.name: getattr(window, field.name) for field in fields(window)}
    window = type(window)(**{**values, "tile_us": tile_us})
    if isinstance(window, Session) and not 0 < tile_us <= window.gap_us:
        raise DeclarationError(
            "a session's tile must be no longer than its gap",
            where=here,
            found=f"tile {durations.text(tile_us)}, gap {durations.text(window.gap_us)}",
            hint="leave tile= out: it follows from the gap.",
        )
    if isinstance(window, Tumbling) and tile_us and window.every_us % tile_us:
        raise DeclarationError(
            "a tile must divide its period",
            where=here,
            found=f"tile {durations.text(tile_us)}, period {durations.text(window.every_us)}",
            hint="leave tile= out: the default divides it.",
        )
    if not 0 < tile_us <= window.longest_us:
        raise DeclarationError(
            "a tile must be shorter than its window" if tile_us else "a tile has no length",
            where=here,
            found=f"tile {durations.text(tile_us)}, window {durations.text(window.longest_us)}",
            hint="leave tile= out: the default cuts the window in 60 to a few hundred tiles.",
        )
    if window.longest_us // tile_us > window.most_tiles:
        longer = f"{durations.text(window.default_tile_us)} would be used."
        raise DeclarationError(
            "a window has too many tiles",
            where=here,
            found=f"{window.longest_us // tile_us} tiles of {durations.text(tile_us)}",
            expected=f"at most {window.most_tiles}",
            hint="declare a shorter over=, the greatest length of a session."
            if isinstance(window, Session)
            else f"leave tile= out: {longer}",
        )
    return window
