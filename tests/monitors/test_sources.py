"""One source at a time: values, texts and traffic on small made-up hours, with and without faults."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from samestream.monitors.diagnosis import UNITS, VERDICTS, Unit, units_of
from samestream.monitors.incidents import DAY_US, HOUR_US, Finding
from samestream.monitors.number_evidence import SENTINEL
from samestream.monitors.number_watch import NumberWatch
from samestream.monitors.rows import Rows
from samestream.monitors.slots import Keys, Slots
from samestream.monitors.source_spec import SourceSpec
from samestream.monitors.sources import SourceFamily, SourceWatch
from samestream.streams.zones import offset_us

LIMIT = 12.0
DAYS = 24
rng = np.random.default_rng(5)


def taught(low: float = -np.inf, high: float = np.inf, unit: str | None = None, days: int = 10) -> NumberWatch:
    """A field that has seen ten good days of fifty values an hour, and has the limits of a calm one."""
    watch = NumberWatch("Departure.dep_delay", low, high, unit)
    for _ in range(days):
        for hour in range(24):
            looked_at(watch, values(50), hour)
        watch.close_day(learn=True)
        watch.restart()
    watch.detectors.limits[:] = LIMIT
    return watch


def values(n: int, scale: float = 20) -> np.ndarray:
    return np.round(rng.exponential(scale, n) - scale / 4)


def looked_at(watch: NumberWatch, part: np.ndarray, hour: int = 12) -> list[Finding]:
    n = len(part)
    slots = Slots(np.zeros(n, np.int64), False)
    return watch.look(part, np.ones(n, np.bool_), np.arange(n, dtype=np.int64), slots, hour, True)


def found(watch: NumberWatch, part: np.ndarray) -> dict[str, Finding]:
    return {finding.verdict: finding for finding in looked_at(watch, part)}


def best(watch: NumberWatch, part: np.ndarray) -> Finding:
    """What an incident would tell."""
    return max(looked_at(watch, part), key=lambda one: (VERDICTS[one.verdict].rank, one.score))


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.plain], ids=lambda unit: unit.says)
def test_every_large_factor_is_told_from_an_hour_of_whole_numbers(unit: Unit) -> None:
    finding = best(taught(), values(50) * unit.scale)
    assert (finding.verdict, finding.evidence["factor"]) == ("unit", unit.says)


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.of == "length"], ids=lambda unit: unit.says)
def test_small_factors_are_looked_for_where_a_length_is_declared(unit: Unit) -> None:
    finding = best(taught(unit="mi"), values(50) * unit.scale)
    assert finding.verdict == "unit"
    assert finding.evidence["scale"] == pytest.approx(unit.scale, rel=0.02)  # yards and metres look alike


def test_only_units_of_what_is_measured_are_looked_for() -> None:
    assert {unit.of for unit in units_of("min")} == {"time", ""}
    assert all(unit.plain for unit in units_of(None))
    assert all(unit.plain for unit in units_of("furlong"))


@pytest.mark.parametrize("factor", [1.0, 1.5, 3.0, 0.5])
def test_a_rough_day_is_no_unit(factor: float) -> None:
    watch = taught()
    for _ in range(48):
        assert "unit" not in (told := found(watch, np.round(values(50) * factor))), told["unit"].evidence


def test_a_storm_is_no_unit() -> None:
    assert "unit" not in found(taught(), np.round(rng.normal(150, 40, 50)))


def test_a_unit_is_forgotten_once_the_values_fit_again() -> None:
    watch = taught()
    assert "unit" in found(watch, values(50) * 60)
    assert "unit" in {one.verdict for one in looked_at(watch, np.zeros(0))}  # a silent hour says nothing
    assert found(watch, values(400)) == {}


def test_one_value_again_and_again_is_frozen_across_looks() -> None:
    watch = taught()
    assert found(watch, np.full(3, 7.0)) == {}
    assert best(watch, np.full(9, 7.0)).verdict == "frozen"
    assert found(watch, np.full(3, 7.0))["frozen"].evidence["run"] == 15
    assert "frozen" not in found(watch, values(80))


def test_five_in_a_hundred_of_a_value_never_seen_are_a_sentinel_at_the_third() -> None:
    watch = taught()
    part = values(70)
    part[[9, 29, 49]] = -999.0
    finding = best(watch, part)
    assert (finding.verdict, finding.evidence["value"]) == ("sentinel", -999.0)
    assert finding.since_us is not None
    assert finding.since_us <= 49


def test_zeros_in_place_of_a_fifth_of_the_values() -> None:
    watch = taught()
    part = values(200)
    part[::5] = 0.0
    finding = best(watch, part)
    assert finding.verdict == "zeroed"
    assert finding.evidence["zero_share"] >= 0.2 > 2 * finding.evidence["zero_share_before"]
    histogram = finding.evidence["histogram"]
    assert sum(histogram["after"]) == 50
    assert len(histogram["from"]) == len(histogram["before"]) == len(histogram["after"])


def test_a_long_dry_spell_is_not_frozen() -> None:
    watch = NumberWatch("Weather.precip", 0, np.inf)
    for day in range(40):
        for hour in range(24):
            wet = day < 14 and (24 * day + hour) % 48 < 6
            looked_at(watch, rng.random(3) if wet else np.zeros(3), hour)
        if day == 7:
            watch.detectors.limits[:] = LIMIT
        assert day < 14 or watch.detectors.active == {}
        watch.close_day(learn=True)
        if day < 3:
            watch.restart()


def test_range_needs_no_history_and_one_event_is_one_finding() -> None:
    watch = NumberWatch("Weather.wind", 0.0, 200.0)
    finding = found(watch, np.array([3.0, 1048.0, 5.0]))["bad_values"]
    assert finding.evidence["outside"] == [1048.0]
    assert finding.evidence["share"] == 0.3333
    assert "bad_values" in found(watch, np.array([3.0, 4.0, 5.0]))
    assert found(watch, np.full(7, 4.0)) == {}  # ten good ones: at one in three another would have come


def test_a_few_values_far_out_are_no_unit_and_a_unit_is_though_it_is_out_of_range_too() -> None:
    watch = taught(low=-120, high=2000, unit="min")
    part = values(50)
    part[[10, 47, 48, 49]] = [3720.0, 4980.0, 5100.0, 4500.0]  # as seconds they were delays of an hour or so
    assert best(watch, part).verdict == "bad_values"
    assert "unit" in {watch.detectors.names[place].split()[0] for place in watch.detectors.active}, "it was considered"
    for _ in range(3):
        assert "unit" not in found(watch, part)
    finding = best(taught(low=-120, high=2000, unit="min"), values(50) * 60)
    assert (finding.verdict, finding.evidence["factor"]) == ("unit", "x60: minutes reported as seconds")


def test_one_zero_speaks_where_none_ever_was_and_nothing_led_to_it() -> None:
    def taught_with(low: float) -> NumberWatch:
        watch = NumberWatch("Boarding.distance")
        for _ in range(10):
            for hour in range(24):
                looked_at(watch, np.round(rng.uniform(low, 900, 50), 1), hour)
            watch.close_day(learn=True)
            watch.restart()
        watch.detectors.limits[:] = LIMIT
        return watch

    assert best(taught_with(200.0), np.array([350.0, 0.0])).verdict == "zeroed"
    assert found(taught(), np.array([20.0, 0.0])) == {}  # here zeros come now and then


def test_what_never_follows_itself_is_stuck_sooner() -> None:
    def taught_with(*, again: bool) -> NumberWatch:
        watch, towns = NumberWatch("Boarding.distance"), 100.0 + 37 * np.arange(20)
        for _ in range(10):
            for hour in range(24):
                order = rng.integers(0, 20, 60) if again else np.concatenate([rng.permutation(20) for _ in range(3)])
                looked_at(watch, towns[order], hour)
            watch.close_day(learn=True)
            watch.restart()
        watch.detectors.limits[:] = LIMIT
        return watch

    stuck = np.full(4, 100.0)  # the first is no repetition
    assert "frozen" in found(taught_with(again=False), stuck)
    assert "frozen" not in found(taught_with(again=True), stuck)


def test_what_another_key_has_just_said_is_not_odd_where_they_have_the_same_weather() -> None:
    places = Slots(np.array([1, 2, 3]), True)

    def look(watch: NumberWatch, weather: list[float], hour: int) -> float:
        watch.look(np.array(weather), np.ones(3, np.bool_), np.arange(3), places, hour, True)
        return float(watch.detectors.levels[SENTINEL])

    def taught_with(*, same: bool) -> NumberWatch:
        watch = NumberWatch("Weather.temp")
        for _ in range(10):
            for hour in range(24):
                look(watch, [float(rng.integers(30, 60))] * 3 if same else rng.integers(30, 60, 3).tolist(), hour)
            watch.close_day(learn=True)
            watch.restart()
        watch.detectors.limits[:] = LIMIT
        return watch

    fog = taught_with(same=True)
    assert look(fog, [-31.0] * 3, 12) == 0, "what others confirm is taken back"
    assert look(taught_with(same=False), [-31.0] * 3, 12) > 2
    look(fog, [40.0] * 3, 13)
    assert look(fog, [40.0, -31.0, 40.0], 14) > 3, "no other says it"
    look(fog, [40.0] * 3, 15)
    assert look(fog, [40.0, -31.0, 40.0], 16) > 10, "it comes again, and no other says it"


def test_infinity_is_out_of_any_range() -> None:
    assert "bad_values" in found(NumberWatch("Weather.wind"), np.array([1.0, np.inf]))


class Source:
    """Events of one source by day, silent from 0 to 5 each night, and what its watch says."""

    def __init__(self, zone: str = "UTC", **spec: Any) -> None:
        spec = {"event": "Departure", "numeric_fields": (), "low": {}, "high": {}, "lateness_us": 0, **spec}
        self.watch = SourceWatch(SourceSpec(**spec), silence_us=2 * HOUR_US, quality=True, zone=zone)
        self.family = SourceFamily({"Departure": self.watch}, 0.5)
        self.rng = np.random.default_rng(3)
        self.told: dict[str, int] = {}  # verdict -> when it was first told
        self.at_us = 0

    def send(self, until_us: int, lag_us: int = 60_000_000, **changes: Any) -> None:
        """Thirty events an hour up to an instant. changes : column -> what becomes of (rng, n) or of its usual values."""
        hours = np.arange(self.at_us // HOUR_US, until_us // HOUR_US)
        known = np.sort(
            np.repeat(hours[hours % 24 >= 5], 30) * HOUR_US
            + self.rng.integers(0, HOUR_US, 30 * np.count_nonzero(hours % 24 >= 5))
        )
        n = len(known)
        there = np.ones(n, np.bool_)
        columns = {
            name: self.rng.choice(["AA", "BB", "CC", "DD"], n, p=[0.4, 0.3, 0.2, 0.1]).astype(object)
            for name in self.watch.spec.text_fields
        }
        columns |= {
            name: np.round(self.rng.normal(30 * at + 30, 4, n))
            for at, name in enumerate(self.watch.spec.numeric_fields)
        }
        known_keys = np.array([f"{at}" for at in known.tolist()], object)
        partitions = np.arange(n) % 3
        for name, change in changes.items():
            if name in columns:
                columns[name] = change(columns)
        keep = partitions != changes.get("gone", -1)
        times = known - lag_us
        pieces = [known, times, known_keys, partitions, *columns.values()]
        if changes.get("twice"):
            pieces = [np.repeat(piece, 2) for piece in pieces]
            keep, there = np.repeat(keep, 2), np.repeat(there, 2)
        known, times, known_keys, partitions, *parts = (piece[keep] for piece in pieces)
        fields = {name: (part, there[keep]) for name, part in zip(columns, parts, strict=True)}
        self.watch.add(known, times, fields, known_keys.tolist(), partitions)
        if changes.get("unreadable"):
            self.watch.rejected.add(known[::5])
        self.advance(until_us)

    def advance(self, until_us: int) -> None:
        self.at_us = until_us
        self.family.advance(until_us, self._observe)

    def _observe(self, cause: str, findings: Sequence[Finding], at_us: int) -> bool:
        if findings:
            one = max(findings, key=lambda one: (VERDICTS[one.verdict].rank, one.score))
            self.told.setdefault(one.verdict, at_us)
        return bool(findings)


def calm(**spec: Any) -> Source:
    source = Source(**spec)
    source.send(DAYS * DAY_US)
    assert source.told == {}
    assert source.family.limits is not None
    return source


def test_no_limit_is_set_below_the_shortest_history() -> None:
    source = Source()
    source.send((source.family.shortest_days + 2) * DAY_US)
    assert source.family.limits is None
    source.send(source.at_us + 12 * HOUR_US)
    source.advance(source.at_us + 30 * HOUR_US)  # nothing comes any more, and nothing is said
    assert source.told == {}


def test_nightly_silence_is_usual_and_silence_by_day_is_not() -> None:
    source = calm()
    source.advance(source.at_us + 5 * HOUR_US)
    assert source.told == {}
    source.advance(source.at_us + 4 * HOUR_US)
    assert list(source.told) == ["missing_source"]
    assert source.told["missing_source"] <= DAYS * DAY_US + 7 * HOUR_US


@pytest.mark.parametrize("zone", ["America/New_York", "UTC"])
@pytest.mark.parametrize(
    "changed_us", [9_957_600_000_000, 25_682_400_000_000]
)  # 26 April and 25 October 1970, 2 in the night
def test_clocks_that_are_changed_are_no_silence_where_the_zone_is_told(changed_us: int, zone: str) -> None:
    source = Source(zone)
    first, last = (changed_us // DAY_US - 24) * 24, (changed_us // DAY_US + 2) * 24
    hours = np.arange(first, last)
    awake = [
        hour
        for hour in hours
        if (hour * HOUR_US + offset_us("America/New_York", int(hour) * HOUR_US)) // HOUR_US % 24 >= 5
    ]
    known = np.repeat(awake, 30) * HOUR_US + np.tile(np.arange(30) * 120_000_000, len(awake))
    source.watch.add(known, known - 60_000_000, {}, None, None)
    source.advance(last * HOUR_US)
    assert source.family.limits is not None
    assert list(source.told) == ([] if zone != "UTC" else ["missing_source"])


@pytest.mark.parametrize("is_table", [False, True])
def test_a_reference_table_is_neither_silent_nor_late(is_table: bool) -> None:
    source = calm(is_table=is_table)
    source.advance(source.at_us + DAY_US)
    source.send(source.at_us + DAY_US, lag_us=365 * DAY_US)
    assert set(source.told) == (set() if is_table else {"missing_source", "late_data"})


@pytest.mark.parametrize(
    ("lag_minutes", "verdict"), [(10, None), (20, "late_data"), (180, "late_data"), (61, "clock"), (-59, "clock")]
)
def test_lags(lag_minutes: int, verdict: str | None) -> None:
    source = calm()
    source.send(source.at_us + 6 * HOUR_US, lag_us=lag_minutes * 60_000_000)
    assert list(source.told) == ([] if verdict is None else [verdict])


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"gone": 1}, "missing_partition"),
        ({"twice": True}, "duplicated"),
        ({"unreadable": True}, "unreadable"),
        ({"carrier": lambda columns: np.where(columns["carrier"] == "AA", "aa", columns["carrier"])}, "respelled"),
        ({"carrier": lambda columns: np.where(columns["delay"] > 33, "EE", columns["carrier"])}, "new_category"),
        ({"delay": lambda columns: columns["lag"], "lag": lambda columns: columns["lag"] - 30}, "swapped"),
    ],
)  # fmt: skip
def test_a_fault_is_named(changes: dict[str, Any], verdict: str) -> None:
    source = calm(numeric_fields=("delay", "lag"), text_fields=("carrier",))
    source.send(source.at_us + 8 * HOUR_US, **changes)
    assert list(source.told)[-1] == verdict


def test_one_event_decides_where_both_fields_hold_what_only_the_other_could() -> None:
    source = calm(numeric_fields=("delay", "lag"))
    source.send(
        source.at_us + 6 * HOUR_US, delay=lambda columns: columns["lag"], lag=lambda columns: columns["lag"] - 30
    )
    assert list(source.told) == ["swapped"]
    (since_us,) = source.watch.number_swaps.detectors.active.values()
    assert since_us < DAYS * DAY_US + 5 * HOUR_US + 240_000_000  # thirty come in an hour


def test_keys_that_come_again_and_again_are_told_from_names() -> None:
    few, many = Keys(), Keys()
    few.close_day(few.number(["JFK", "EWR", "JFK"] * 10, 30))
    many.close_day(many.number([str(n) for n in range(5000)] * 20, 100_000))
    assert (few.keyed, many.keyed) == (True, False)
    assert few.slots(few.number(["EWR", "LGA"], 2)).of.tolist() == [1, 2]
    assert many.slots(many.number(["7"], 1)).of.tolist() == [0]


def test_rows_are_handed_over_once_and_in_order() -> None:
    rows = Rows()
    assert rows.take(10) is None
    rows.add(np.array([11, 13, 12]), np.array([1, 2, 3]))
    rows.add(np.array([9, 20]), np.array([4, 5]))
    known, column = rows.take(20)  # type: ignore[misc]
    assert known.tolist() == [11, 13, 13, 13]
    assert column.tolist() == [1, 2, 3, 4]
    assert rows.take(20) is None
    assert rows.first_us == 20


def test_the_table_of_verdicts_is_whole() -> None:
    assert set(VERDICTS) == {
        "missing_source", "missing_partition", "missing_group", "late_data", "bad_values", "nulls", "zeroed", "frozen",
        "sentinel", "unit", "swapped", "inverted", "shifted", "respelled", "new_category", "duplicated", "clock", "unreadable",
        "definition_or_code", "world_changed", "model_aged", "model_swapped",
    }  # fmt: skip
    for name, verdict in VERDICTS.items():
        assert verdict.name == name
        assert verdict.meaning.endswith(".")
        assert verdict.advice.endswith(".")
        assert 0 < verdict.weight <= 1


@pytest.mark.parametrize("every", [20, 60])
def test_a_sentinel_that_comes_thinly_does_not_teach_that_it_is_usual(every: int) -> None:
    watch = taught()
    part = values(3 * every)
    part[every - 1 :: every] = -999.0
    finding = best(watch, part)
    assert (finding.verdict, finding.evidence["value"]) == ("sentinel", -999.0)


def test_more_of_a_common_value_is_no_sentinel() -> None:
    watch = taught()
    for _ in range(40):
        part = values(50)
        part[::8] = -4.0
        looked_at(watch, part)
    assert watch.detectors.peaks[SENTINEL] < LIMIT / 2


def test_rain_makes_all_of_its_values_likelier_and_a_sentinel_only_its_own() -> None:
    rng = np.random.default_rng(11)

    def weather(n: int, wet: float) -> np.ndarray:
        return np.where(rng.random(n) < wet, rng.integers(1, 21, n) / 100, 0.0)

    watch = NumberWatch("Weather.precip")
    for _ in range(10):
        for hour in range(24):
            looked_at(watch, weather(50, 0.1), hour)
        watch.close_day(learn=True)
        watch.restart()
    watch.detectors.limits[:] = LIMIT
    for _ in range(20):
        looked_at(watch, weather(100, 1.0))
        looked_at(watch, weather(200, 0.0))
    assert watch.detectors.peaks[SENTINEL] < LIMIT
    part = weather(100, 1.0)
    part[9::20] = 9.99
    assert found(watch, part)["sentinel"].evidence["value"] == 9.99


@pytest.mark.parametrize("seed", range(8))
def test_a_seldom_value_that_becomes_a_third_of_all_does_not_hide_behind_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def nearly_constant(n: int) -> np.ndarray:
        return np.where(rng.random(n) < 0.02, rng.integers(1, 5, n) / 4, 0.0)  # four odd ones, one in two hundred each

    watch = NumberWatch("Weather.precip")
    for _ in range(10):
        for hour in range(24):
            looked_at(watch, nearly_constant(50), hour)
        watch.close_day(learn=True)
        watch.restart()
    watch.detectors.limits[:] = LIMIT
    part = nearly_constant(50)
    part[rng.random(50) < 0.3] = 0.25
    assert found(watch, part)["sentinel"].evidence["value"] == 0.25


def test_two_of_a_value_that_never_came_may_be_chance() -> None:
    watch = taught()
    part = values(70)
    part[[30, 32]] = -999.0
    assert "sentinel" not in found(watch, part)
    assert best(watch, np.array([-999.0])).verdict == "sentinel"


def test_a_sentinel_is_known_again_after_a_hundred_values_without_it() -> None:
    watch = taught()
    part = np.concatenate([[-999.0], values(130), [-999.0], values(10), [-999.0]])
    watch.detectors.limits[:] = 16.0
    assert found(watch, part)["sentinel"].evidence["value"] == -999.0


def test_what_seldom_came_is_suspected_for_more_than_eighty_values() -> None:
    watch = taught()
    looked_at(watch, np.array([999.0]))
    for _ in range(4):
        looked_at(watch, values(1200))
        watch.restart()
        watch.close_day(learn=True)
    watch.detectors.limits[:] = 10.0
    part = np.concatenate([values(10), [999.0], values(10), [999.0], values(85), [999.0]])
    assert found(watch, part)["sentinel"].evidence["value"] == 999.0


def test_a_sentinel_that_begins_before_midnight_does_not_teach_that_it_is_usual() -> None:
    watch = taught()
    watch.detectors.limits[:] = 16.0
    looked_at(watch, np.concatenate([values(20), [-999.0], values(10)]), 23)
    watch.close_day(learn=True)
    part = np.concatenate([values(10), [-999.0], values(20), [-999.0]])
    assert {one.verdict for one in looked_at(watch, part, 0)} == {"sentinel"}
