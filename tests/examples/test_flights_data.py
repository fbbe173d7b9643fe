"""The flights example's events against the CSV files, read here a second time by the csv module and `datetime` alone."""

import csv
import io
import zipfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from samestream.examples import flights_data
from samestream.examples.event_batch import EventBatch
from samestream.schemas.errors import SchemaError, SettingsError

NEW_YORK = ZoneInfo("America/New_York")
MINUTE_US = 60_000_000
FLIGHTS_OF_2013 = 336_776


def utc_us(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.fixture(scope="module")
def year() -> dict[str, EventBatch]:
    return flights_data.load(range(1, 13))


@pytest.fixture(scope="module")
def flight_rows() -> list[dict[str, str]]:
    with (
        zipfile.ZipFile(flights_data.data_folder() / "flights.csv.zip") as archive,
        archive.open("flights.csv") as file,
    ):
        return list(csv.DictReader(io.TextIOWrapper(file)))


@pytest.fixture(scope="module")
def weather_rows() -> list[dict[str, str]]:
    with open(flights_data.data_folder() / "weather.csv") as file:
        return list(csv.DictReader(file))


def flight_id(row: dict[str, str]) -> str:
    return f"{row['year']}{int(row['month']):02}{int(row['day']):02}-{row['carrier']}-{row['flight']}-{row['origin']}"


def event_times(batch: EventBatch) -> dict[str, int]:
    return dict(zip(batch.key, np.asarray(batch.columns["at"]).tolist(), strict=True))


# --- which events ----------------------------------------------------------------------------------------------------


def test_the_year_holds_every_flight_once(year, flight_rows):
    assert {name: len(batch) for name, batch in year.items()} == {
        "Boarding": FLIGHTS_OF_2013,
        "Departure": FLIGHTS_OF_2013 - 8_255,
        "Arrival": FLIGHTS_OF_2013 - 9_430,
        "Weather": 26_115,
    }
    for name in ("Boarding", "Departure", "Arrival"):
        assert len(set(year[name].key)) == len(year[name])
    assert set(year["Boarding"].key) == {flight_id(row) for row in flight_rows}


@pytest.mark.parametrize("month", [2, 3, 11])
def test_a_month_holds_what_its_rows_say(month, flight_rows, weather_rows):
    batches = flights_data.load([month])
    rows = [row for row in flight_rows if row["month"] == str(month)]
    assert sorted(batches["Boarding"].key) == sorted(map(flight_id, rows))
    assert sorted(batches["Departure"].key) == sorted(flight_id(row) for row in rows if row["dep_time"] != "NA")
    assert sorted(batches["Arrival"].key) == sorted(flight_id(row) for row in rows if row["arr_delay"] != "NA")
    assert Counter(batches["Weather"].key) == Counter(
        row["origin"] for row in weather_rows if row["month"] == str(month)
    )


def test_fields_are_those_of_the_file(flight_rows):
    march = flights_data.load([3])
    row_of = {flight_id(row): row for row in flight_rows if row["month"] == "3"}

    def text(name):
        return lambda row: None if row[name] == "NA" else row[name]

    def number(name):
        return lambda row: None if row[name] == "NA" else float(row[name])

    expected = {
        "Boarding": {name: text(name) for name in ("carrier", "origin", "dest", "tailnum")}
        | {"distance": number("distance"), "scheduled_dep_hour": lambda row: int(row["hour"])},
        "Departure": {"carrier": text("carrier"), "origin": text("origin"), "dep_delay": number("dep_delay")}
        | {"dep_delay_hours": lambda row: float(row["dep_delay"]) / 60},
        "Arrival": {name: text(name) for name in ("carrier", "origin", "dest")}
        | {name: number(name) for name in ("arr_delay", "air_time")},
    }
    for event, fields in expected.items():
        batch = march[event]
        assert set(batch.columns) == {"flight_id", *fields, "at"}
        assert batch.columns["flight_id"] == batch.key
        for name, read in fields.items():
            assert list(batch.columns[name]) == [read(row_of[key]) for key in batch.key], f"{event}.{name}"
    assert None in march["Boarding"].columns["tailnum"]


def test_numbers_without_nulls_are_writable_arrays_and_nulls_are_none(year):
    assert year["Departure"].columns["dep_delay"].dtype == np.float64
    assert year["Boarding"].columns["scheduled_dep_hour"].dtype == np.int64
    for name in ("precip", "visib"):
        assert year["Weather"].columns[name].dtype == np.float64
    wind = year["Weather"].columns["wind_speed"]
    assert isinstance(wind, list)
    assert wind.count(None) == 4
    assert max(speed for speed in wind if speed is not None) > 1_000  # the broken sensor at EWR stays in
    for batch in year.values():
        for values in batch.columns.values():
            assert isinstance(values, list) or values.flags.writeable


# --- when ------------------------------------------------------------------------------------------------------------


def test_schedule_in_utc_agrees_with_time_hour_for_every_flight(year, flight_rows):
    boarding = event_times(year["Boarding"])
    for row in flight_rows:
        scheduled = boarding[flight_id(row)] + 30 * MINUTE_US
        hour = datetime.fromisoformat(row["time_hour"])
        assert scheduled == int(hour.timestamp()) * 1_000_000 + int(row["minute"]) * MINUTE_US


@pytest.mark.parametrize(
    ("first", "last"), [((3, 9), (3, 11)), ((11, 2), (11, 4)), ((7, 1), (7, 2)), ((12, 31), (12, 31))]
)
def test_departure_and_arrival_show_the_local_times_of_the_file(first, last, year, flight_rows):
    with open(flights_data.data_folder() / "airports.csv") as file:
        zones = {row["faa"]: row["tzone"] for row in csv.DictReader(file)}
    departures, arrivals = event_times(year["Departure"]), event_times(year["Arrival"])

    def wall(at_us: int, zone: str) -> int:
        local = datetime.fromtimestamp(at_us // 1_000_000, ZoneInfo(zone))
        return local.hour * 100 + local.minute

    checked = 0
    for row in flight_rows:
        if not first <= (int(row["month"]), int(row["day"])) <= last or row["arr_delay"] == "NA":
            continue
        key = flight_id(row)
        assert wall(departures[key], "America/New_York") == int(row["dep_time"]) % 2400, key
        zone = zones.get(row["dest"], "America/Puerto_Rico")
        if key == "20130309-B6-35-JFK":  # written down as 02:03 in an hour that Florida skipped: 02:03 in winter time
            assert (row["arr_time"], arrivals[key]) == ("203", utc_us(2013, 3, 10, 7, 3))
        else:
            assert wall(arrivals[key], zone) == int(row["arr_time"]) % 2400, key
        on_the_ground = (arrivals[key] - departures[key]) // MINUTE_US - int(row["air_time"])
        assert 5 <= on_the_ground <= 235, key  # an hour lost or won to a zone would show here
        checked += 1
    assert checked > 600


def test_clocks_go_forward_on_10_march(year):
    boarding = event_times(year["Boarding"])
    assert boarding["20130309-B6-727-JFK"] == utc_us(2013, 3, 10, 4, 29)  # 23:59 in winter time
    assert boarding["20130310-US-1113-EWR"] == utc_us(2013, 3, 10, 8, 30)  # 05:00 in summer time
    assert boarding["20130310-B6-727-JFK"] == utc_us(2013, 3, 11, 3, 29)  # 23:59 in summer time
    assert flights_data.local_instant_us(3, 10, 1) + 60 * MINUTE_US == flights_data.local_instant_us(3, 10, 3)
    hours = sorted(np.asarray(year["Weather"].columns["at"])[np.array(year["Weather"].key) == "JFK"].tolist())
    day = [at for at in hours if utc_us(2013, 3, 10, 5) <= at < utc_us(2013, 3, 11, 4)]
    assert np.diff(day).tolist() == [60 * MINUTE_US] * 22  # 23 hours, none missing


def test_clocks_go_back_on_3_november(year):
    boarding = event_times(year["Boarding"])
    assert boarding["20131102-AA-2243-JFK"] == utc_us(2013, 11, 2, 9, 15)  # 05:45 in summer time
    assert boarding["20131103-AA-2243-JFK"] == utc_us(2013, 11, 3, 10, 15)  # 05:45 in winter time
    weather = year["Weather"]
    observed = set(zip(weather.key, np.asarray(weather.columns["at"]).tolist(), strict=True))
    assert len(observed) == len(weather)  # the hour that the clocks showed twice is two hours
    for hour in (5, 6):  # 01:00 in summer time and 01:00 in winter time
        assert ("JFK", utc_us(2013, 11, 3, hour)) in observed


def test_wall_clock_reads_each_hour_as_datetime_does():
    for zone in ("America/New_York", "America/Phoenix", "Pacific/Honolulu", "America/Anchorage"):
        naive = [datetime(2013, 1, 1) + timedelta(minutes=30 * n) for n in range(2 * 24 * 365)]
        wall = np.array([int(when.replace(tzinfo=UTC).timestamp()) * 1_000_000 for when in naive], dtype=np.int64)
        expected = [int(when.replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1_000_000 for when in naive]
        assert flights_data.WallClock(zone).utc_us(wall).tolist() == expected


def test_wall_clock_of_an_unknown_zone():
    with pytest.raises(SettingsError, match="Hint: pip install tzdata"):
        flights_data.WallClock("America/Nowhere")


def test_month_starts_are_midnights_in_new_york():
    assert flights_data.month_start_us(1) == utc_us(2013, 1, 1, 5)
    assert flights_data.month_start_us(4) == utc_us(2013, 4, 1, 4)
    assert flights_data.month_start_us(13) == utc_us(2014, 1, 1, 5)
    with pytest.raises(SettingsError, match="no such month"):
        flights_data.month_start_us(14)


# --- when known ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "least_s", "most_s"),
    [("Boarding", 0, 5), ("Departure", 5, 60), ("Arrival", 10, 120), ("Weather", 3000, 3060)],
)
def test_known_after_it_happens_and_in_order(event, least_s, most_s, year):
    batch = year[event]
    delay_s = (batch.known_us - np.asarray(batch.columns["at"])) / 1e6
    assert delay_s.min() == pytest.approx(least_s, abs=0.5)
    assert delay_s.max() == pytest.approx(most_s, abs=0.5)
    assert delay_s.mean() == pytest.approx((least_s + most_s) / 2, abs=0.5)  # spread evenly
    assert least_s <= delay_s.min()
    assert delay_s.max() <= most_s
    assert not np.any(batch.known_us % 1000)
    assert np.all(np.diff(batch.known_us) >= 0)


def test_known_times_do_not_depend_on_the_other_months_loaded(year):
    march = flights_data.load([3])
    known = dict(zip(year["Arrival"].key, year["Arrival"].known_us.tolist(), strict=True))
    assert [known[key] for key in march["Arrival"].key] == march["Arrival"].known_us.tolist()


def test_arrivals_follow_their_departures(year):
    departures = event_times(year["Departure"])
    arrival = year["Arrival"]
    left = np.array([departures[key] for key in arrival.key])
    hours = (np.asarray(arrival.columns["at"]) - left) / 3.6e9
    assert hours.min() > 0.5
    assert np.median(hours) == pytest.approx(2.67, abs=0.01)
    assert np.quantile(hours, 0.95) == pytest.approx(6.22, abs=0.01)
    assert hours.max() < 13


# --- releases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("months", [range(1, 4), [1, 3, 4], [12]])
def test_releases_lose_nothing_and_foresee_nothing(months):
    months = list(months)
    batches = flights_data.load(months)
    parts = flights_data.releases(batches, months)
    assert len(parts) == len(months)
    for name, batch in batches.items():
        together = [pair for part in parts for pair in zip(part[name].key, part[name].known_us.tolist(), strict=True)]
        assert together == list(zip(batch.key, batch.known_us.tolist(), strict=True))  # here the order survives too
        for n, part in enumerate(parts):
            known = part[name].known_us
            if n + 1 < len(months):
                assert known.max() < flights_data.month_start_us(months[n + 1])
            if n:
                assert known.min() >= flights_data.month_start_us(months[n])
    for month, part in zip(months, parts, strict=True):
        assert {int(key[4:6]) for key in part["Boarding"].key} == {month}
    if months == [1, 3, 4]:  # March's last arrivals are April's news
        assert any(key.startswith("201303") for key in parts[2]["Arrival"].key)


def test_an_event_known_before_its_own_month_waits_for_it():
    known = np.array([flights_data.month_start_us(2) - 60_000_000, flights_data.month_start_us(2) - 30_000_000])
    keys = ["20130131-AA-1-JFK", "20130201-AA-1-JFK"]
    batch = EventBatch("Boarding", {"flight_id": keys, "at": known}, keys, known)
    first, second = flights_data.releases({"Boarding": batch}, [1, 2])
    assert (first["Boarding"].key, second["Boarding"].key) == (keys[:1], keys[1:])


@pytest.mark.parametrize("months", [[], [0], [13], [2, 1], [1, 1]])
def test_months_that_cannot_be_loaded(months):
    with pytest.raises(SettingsError, match="strictly increasing"):
        flights_data.load(months)


# --- batches ---------------------------------------------------------------------------------------------------------


def test_batches_refuse_ragged_columns_and_fine_known_times():
    with pytest.raises(SchemaError, match="differ in length"):
        EventBatch("Boarding", {"at": [1, 2]}, ["a"], np.array([1000]))
    with pytest.raises(SchemaError, match="finer than a millisecond"):
        EventBatch("Boarding", {"at": [1]}, ["a"], np.array([1001]))


def test_ordering_by_known_time_keeps_ties_in_place():
    batch = EventBatch(
        "Boarding", {"n": np.arange(3), "s": ["x", None, "z"]}, list("abc"), np.array([2000, 1000, 1000])
    )
    ordered = batch.by_known_time()
    assert ordered.key == ["b", "c", "a"]
    assert ordered.columns["s"] == [None, "z", "x"]
    assert ordered.columns["n"].tolist() == [1, 2, 0]
