"""One source at a time: runs, ranges, units and lags on small made-up hours."""

from collections.abc import Sequence

import numpy as np
import pytest

from samestream.monitors.diagnosis import UNITS, VERDICTS, Unit
from samestream.monitors.incidents import HOUR_US, Finding
from samestream.monitors.rows import Rows
from samestream.monitors.sources import DAY_US, FieldWatch, SourceSpec, SourceWatch

rng = np.random.default_rng(5)


def taught(
    low: float = -np.inf, high: float = np.inf, days: int = 10, whole: bool = True, scale: float = 20
) -> FieldWatch:
    """A field that has seen ten clean days of fifty values an hour."""
    field = FieldWatch("Departure.dep_delay", low, high)
    for hour in range(days * 24):
        ends = hour % 24 == 23
        field.hour(values(50, whole, scale), 0, ends, hour >= 7 * 24)
        if ends:
            field.close_day(clean=True)
    return field


def values(n: int, whole: bool = True, scale: float = 20) -> np.ndarray:
    drawn = rng.exponential(scale, n) - scale / 4
    return np.round(drawn) if whole else drawn


def hour(field: FieldWatch, part: np.ndarray, nonfinite: int = 0) -> dict[str, Finding]:
    return {finding.verdict: finding for finding in field.hour(part, nonfinite, False, True)}


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.plain and unit.scale > 1], ids=lambda unit: unit.says)
def test_every_large_factor_is_told_from_an_hour_of_whole_numbers(unit: Unit) -> None:
    assert hour(taught(), values(50) * unit.scale)["unit"].evidence["factor"] == unit.says


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.plain and unit.scale < 1], ids=lambda unit: unit.says)
def test_every_small_fraction_is_told_from_an_hour_of_whole_numbers(unit: Unit) -> None:
    assert hour(taught(), values(50) * unit.scale)["unit"].evidence["factor"] == unit.says


@pytest.mark.parametrize("factor", [1.0, 1.5, 3.0, 0.5])
def test_a_rough_day_is_no_unit(factor: float) -> None:
    field = taught()
    for _ in range(48):
        assert hour(field, np.round(values(50) * factor)) == {}


def test_a_storm_is_no_unit() -> None:
    assert hour(taught(), np.round(rng.normal(150, 40, 50))) == {}


def test_a_unit_is_forgotten_once_the_values_fit_again() -> None:
    field = taught()
    assert "unit" in hour(field, values(50) * 60)
    assert "unit" in {
        finding.verdict for finding in field.hour(np.zeros(0), 0, False, True)
    }  # a silent hour says nothing
    assert hour(field, values(50)) == {}


def test_a_run_longer_than_thirty_is_frozen_across_hours() -> None:
    field = taught()
    assert hour(field, np.full(14, 7.0)) == {}
    assert hour(field, np.full(14, 7.0)) == {}
    assert hour(field, np.full(3, 7.0))["frozen"].evidence["run"] == 31
    assert "frozen" not in hour(field, values(40))


def test_one_value_among_few_others_is_frozen_too() -> None:
    part = np.full(60, 7.0)
    part[::8] = values(8)
    finding = hour(taught(), part)["frozen"]
    assert finding.evidence["value"] == 7.0
    assert finding.evidence["share"] >= 0.85


def test_a_long_dry_spell_is_not_frozen() -> None:
    field = FieldWatch("Weather.precip", 0, np.inf)
    for number in range(40 * 24):
        wet = number < 14 * 24 and number % 48 < 6
        found = field.hour(rng.random(3) if wet else np.zeros(3), 0, number % 24 == 23, number >= 7 * 24)
        if number < 26 * 24:  # the last rain fell on day 12; fourteen dry days are still weather
            assert found == ()
        if number % 24 == 23:
            field.close_day(clean=not found)


def test_range_needs_no_history_and_one_event_is_one_finding() -> None:
    field = FieldWatch("Weather.wind", 0.0, 200.0)
    finding = hour(field, np.array([3.0, 1048.0, 5.0]))["bad_values"]
    assert finding.evidence["examples"] == [1048.0]
    assert finding.evidence["share"] == 0.3333
    assert "bad_values" in hour(field, np.array([3.0, 4.0, 5.0]))
    assert hour(field, np.full(7, 4.0)) == {}  # ten good ones: at one in three another would have come


def test_infinity_is_out_of_any_range() -> None:
    assert "bad_values" in hour(FieldWatch("Weather.wind", -np.inf, np.inf), np.array([1.0]), nonfinite=1)


def source(lag_us: int, silence_us: int = 2 * HOUR_US) -> tuple[SourceWatch, list[tuple[str, Sequence[Finding], int]]]:
    """A source of thirty events an hour, silent from 0 to 5 each night, for ten days."""
    watch = SourceWatch(SourceSpec("Departure", (), {}, {}, 0), silence_us=silence_us, quality=True)
    told: list[tuple[str, Sequence[Finding], int]] = []
    hours = np.arange(240)
    known = (np.repeat(hours[hours % 24 >= 5], 30) * HOUR_US + np.tile(np.arange(30) * 120_000_000, 190)).astype(
        np.int64
    )
    watch.rows.add(known, known - lag_us)
    watch.advance(10 * DAY_US, lambda cause, found, at: told.append((cause, found, at)))
    return watch, told


@pytest.mark.parametrize("is_table", [False, True])
def test_a_reference_table_is_neither_silent_nor_late(is_table: bool) -> None:
    watch = SourceWatch(SourceSpec("Plane", (), {}, {}, 0, is_table), silence_us=2 * HOUR_US, quality=True)
    told: set[str] = set()
    loaded = (
        np.arange(10 * 24, dtype=np.int64) * HOUR_US
    )  # for ten days one an hour, then a burst of old facts, then nothing
    changed = 10 * DAY_US + np.arange(100, dtype=np.int64) * 60_000_000
    watch.rows.add(loaded, loaded)
    watch.rows.add(changed, changed - 365 * DAY_US)
    watch.advance(20 * DAY_US, lambda cause, found, at: told.update(one.verdict for one in found))
    assert told == (set() if is_table else {"missing_source", "late_data"})


def test_nightly_silence_is_usual_and_half_as_much_again_is_not() -> None:
    watch, told = source(lag_us=1)
    assert not any(found for _, found, _ in told)
    told.clear()
    watch.advance(11 * DAY_US, lambda cause, found, at: told.append((cause, found, at)))
    first = next((at, found[0]) for _, found, at in told if found)
    assert first[0] == 10 * DAY_US + 8 * HOUR_US  # last event at 23:58, nights of 5 h 2 min, limit 7 h 33 min
    assert first[1].verdict == "missing_source"
    assert first[1].evidence["limit_hours"] == 7.55


@pytest.mark.parametrize(("late_by_minutes", "found_after_hours"), [(10, None), (20, 1), (180, 1)])
def test_lag_counts_from_fifteen_minutes_above_the_highest(late_by_minutes: int, found_after_hours: int | None) -> None:
    watch, told = source(lag_us=60_000_000)
    told.clear()
    known = 10 * DAY_US + 5 * HOUR_US + np.arange(90, dtype=np.int64) * 120_000_000
    watch.rows.add(known, known - late_by_minutes * 60_000_000)
    watch.advance(10 * DAY_US + 8 * HOUR_US, lambda cause, found, at: told.append((cause, found, at)))
    late = [at for _, found, at in told for finding in found if finding.verdict == "late_data"]
    expected = None if found_after_hours is None else 10 * DAY_US + (5 + found_after_hours) * HOUR_US
    assert (late[0] if late else None) == expected


def test_a_mixed_hour_needs_a_second_one() -> None:
    watch, told = source(lag_us=60_000_000)
    told.clear()
    known = 10 * DAY_US + 5 * HOUR_US + np.arange(60, dtype=np.int64) * 120_000_000
    lag = np.where(np.arange(60) % 3 == 0, 60_000_000, 3 * HOUR_US)
    watch.rows.add(known, known - lag)
    watch.advance(10 * DAY_US + 8 * HOUR_US, lambda cause, found, at: told.append((cause, found, at)))
    late = [at for _, found, at in told for finding in found if finding.verdict == "late_data"]
    assert late[0] == 10 * DAY_US + 7 * HOUR_US


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
        "missing_source", "late_data", "bad_values", "frozen", "unit", "definition_or_code", "world_changed",
    }  # fmt: skip
    for name, verdict in VERDICTS.items():
        assert verdict.name == name
        assert verdict.meaning.endswith(".")
        assert verdict.advice.endswith(".")
        assert 0 < verdict.weight <= 1
