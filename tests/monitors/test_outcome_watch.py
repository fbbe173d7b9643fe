"""Labels say when a model has aged: late labels, corrections, other incidents, weeks without data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from made_outcomes import DAY, HOUR, NEEDED, START, life, outcome

from samestream.monitors import Monitors, calibration, performance
from samestream.monitors.budget import OUTCOMES_SHARE, shortest_days
from samestream.monitors.declared import Calibration, Declared, Performance
from samestream.monitors.error_change import BALANCE, LEAST_BEFORE, LEAST_GAUSSIAN, ErrorChange, lags
from samestream.monitors.incidents import IncidentRecord, Lineage
from samestream.monitors.label_windows import KEPT_WINDOWS, LabelWindows
from samestream.monitors.label_windows import calibration as reliability
from samestream.monitors.outcome_watch import ACCEPTED_US, OutcomeWatch
from samestream.schemas.errors import DeclarationError, SettingsError
from samestream.streams.models import scoring_metrics as metrics


def watch(*checks: Any, output: Any = "probability", per_week: float = 4.0) -> OutcomeWatch:
    declared = Declared(of=type("M", (), {}), alarms_per_week=per_week, scores=checks or (Performance(), Calibration()))
    return OutcomeWatch(Lineage("M", ("x",), {}), output, declared, settle_us=2 * HOUR)


def fed(one: OutcomeWatch, rows: Iterator[tuple[int, dict[str, Any]]]) -> list[IncidentRecord]:
    for at_us, row in rows:
        one.on_outcome(at_us, row)
    return one.records()


def test_a_calm_model_raises_nothing_and_one_that_ages_is_named_within_a_day() -> None:
    assert fed(watch(), life(NEEDED + 30)) == []
    told = fed(watch(), life(NEEDED + 20, aged_from=NEEDED + 10))
    assert told[0].event == "open"
    assert (told[0].verdict, told[0].subject, told[0].cause) == ("model_aged", "M.score", "M")
    aged_us = START + (NEEDED + 10) * DAY
    assert 0 < told[0].at_us - aged_us < DAY
    evidence = told[0].evidence
    assert evidence["error_after"] > 1.5 * evidence["error_before"]
    assert evidence["level"] > evidence["limit"]
    assert [record.event for record in told].count("open") == 1


def test_it_closes_when_the_model_is_good_again_and_after_two_weeks_in_any_case() -> None:
    told = fed(watch(), life(NEEDED + 30, aged_from=NEEDED + 5, until=NEEDED + 8))
    assert [record.event for record in told[:3]] == ["open", "update", "close"]
    assert 8 * DAY < told[2].at_us - START - NEEDED * DAY < 10 * DAY
    told = fed(watch(), life(NEEDED + 40, aged_from=NEEDED + 5))
    assert [record.event for record in told] == ["open", "update", "close"]
    assert told[2].at_us - told[0].at_us >= ACCEPTED_US


def test_calibration_alone_opens_and_closes() -> None:
    told = fed(watch(Calibration("1d")), life(NEEDED + 30, aged_from=NEEDED + 5, until=NEEDED + 8))
    assert [record.event for record in told if record.event != "update"] == ["open", "close"]
    assert told[0].evidence["detector"] == "calibration"
    assert 8 * DAY < told[-1].at_us - START - NEEDED * DAY < 11 * DAY


def test_below_the_shortest_history_nothing_alarms() -> None:
    one = watch(per_week=1.0)
    assert shortest_days(OUTCOMES_SHARE) == 34
    assert fed(one, life(30, aged_from=20)) == []
    assert one.learned_days < 34


def test_an_open_incident_of_the_model_explains_worse_predictions() -> None:
    one = watch()
    found: list[IncidentRecord] = []
    for at_us, row in life(NEEDED + 30, aged_from=NEEDED + 5, until=NEEDED + 15):
        if at_us == START + (NEEDED + 5) * DAY:
            one.on_incident("a", "open", "M.x", "definition_or_code", at_us, at_us)
            one.on_incident("b", "open", "Other.x", "unit", at_us, at_us)
        if at_us == START + (NEEDED + 16) * DAY:
            one.on_incident("a", "close", "M.x", "definition_or_code", START + (NEEDED + 5) * DAY, at_us)
        one.on_outcome(at_us, row)
        found += one.records()
    assert [record.at_us for record in found if record.at_us < START + (NEEDED + 15) * DAY] == []


@pytest.mark.parametrize("check", [Performance(), Calibration("1d")], ids=["errors", "calibration"])
@pytest.mark.parametrize("told", [True, False], ids=["incident", "no incident"])
def test_predictions_made_during_an_incident_are_explained_by_it_whenever_their_labels_come(
    check: Performance | Calibration, told: bool
) -> None:
    from_us, until_us, late_us = START + (NEEDED + 10) * DAY, START + (NEEDED + 11) * DAY, 2 * DAY
    one = watch(check)
    found: list[IncidentRecord] = []
    for at_us, row in life(NEEDED + 20, aged_from=NEEDED + 10, until=NEEDED + 11):
        # labels of two days before; the incident was told half an hour after the fault began
        if told and at_us == from_us:
            one.on_incident("a", "open", "M.x", "unit", from_us + HOUR // 2, from_us + HOUR // 2)
        if told and at_us == until_us + 7 * HOUR:
            one.on_incident("a", "close", "M.x", "unit", from_us + HOUR // 2, at_us)
        one.on_outcome(at_us + late_us, {**row, "label_time": at_us + late_us})
        found += one.records()
    assert [record.event for record in found][:1] == ([] if told else ["open"])


def test_what_is_told_of_an_incident_that_is_closed_does_not_open_it_again() -> None:
    one = watch()
    opened_us = START + NEEDED * DAY
    for event, at_us in (("open", opened_us), ("close", opened_us + DAY), ("update", opened_us + DAY - 1)):
        one.on_incident("a", event, "M.x", "unit", opened_us, at_us)
    assert fed(one, life(NEEDED + 20, aged_from=NEEDED + 10))[0].event == "open"


def test_of_few_labels_a_day_an_aged_model_is_accepted_after_two_weeks_too() -> None:
    # all of the history, then one label in six: forty a day
    rows = [
        (at_us, row)
        for number, (at_us, row) in enumerate(life(NEEDED + 40, aged_from=NEEDED + 5))
        if at_us < START + (NEEDED + 6) * DAY or number % 6 == 0
    ]
    told = [one for one in fed(watch(Performance()), iter(rows)) if one.event != "update"]
    assert [one.event for one in told] == ["open", "close"]
    assert ACCEPTED_US <= told[1].at_us - told[0].at_us < ACCEPTED_US + DAY


def test_two_weeks_without_data_are_no_incident() -> None:
    rows = [(at_us + (14 * DAY if at_us >= START + (NEEDED + 5) * DAY else 0), row) for at_us, row in life(NEEDED + 20)]
    for at_us, row in rows:
        row["label_time"] = at_us
    assert fed(watch(), iter(rows)) == []


def test_figures_are_by_label_time_and_corrections_replace() -> None:
    windows = LabelWindows("probability", DAY)
    scores, labels = [0.9, 0.2, 0.7, 0.4], [1.0, 0.0, 0.0, 1.0]
    for number, (score, label) in enumerate(zip(scores, labels, strict=True)):
        windows.add(outcome(number, START + number, score, label))
    day = START // DAY
    assert windows.figures(day)["log_loss"] == pytest.approx(metrics.log_loss(labels, scores), abs=1e-6)
    assert windows.figures(day)["auc"] == metrics.auc(labels, scores)
    windows.add(outcome(2, START + DAY, 0.7, 1.0, "correction"))
    assert windows.figures(day)["rows"] == 3
    assert windows.figures(day)["corrections"] == 1
    assert windows.figures(day + 1)["rows"] == 1
    windows.add(outcome(9, START + (KEPT_WINDOWS + 2) * DAY, 0.5, 1.0))
    windows.add(outcome(10, START, 0.5, 1.0))
    assert windows.too_old == 1


def test_a_number_has_its_error_and_its_bias() -> None:
    windows = LabelWindows("number", DAY)
    for number, (score, label) in enumerate([(10.0, 12.0), (20.0, 18.0), (5.0, 5.0)]):
        windows.add(outcome(number, START, score, label))
    figures = windows.figures(START // DAY)
    assert figures["root_mean_squared_error"] == pytest.approx((8 / 3) ** 0.5, abs=1e-6)
    assert figures["bias"] == 0
    aged_us = START + (NEEDED + 9) * DAY
    told = fed(
        watch(Performance(), output="number"),
        ((at, {**row, "label": 10 + row["score"] * (5 if at > aged_us else 1)}) for at, row in life(NEEDED + 14)),
    )
    assert [record.event for record in told][:1] == ["open"]


def test_reliability_allows_for_chance() -> None:
    rng = np.random.default_rng(3)
    excess = []
    for _ in range(200):
        chances = rng.beta(1, 4, 500)
        found = reliability(chances, (rng.random(500) < chances).astype(float))
        assert found is not None
        excess.append(found.excess)
    assert abs(np.mean(excess)) < 0.25
    assert 0.8 < np.std(excess) < 1.2
    assert reliability(np.ones(10), np.ones(10)) is None


@pytest.mark.parametrize("binary", [True, False])
def test_levels_do_not_depend_on_how_errors_are_handed_over(binary: bool) -> None:
    rng = np.random.default_rng(1)
    errors = (rng.random(3000) < np.where(np.arange(3000) < 2000, 0.1, 0.3)).astype(float)
    errors = errors if binary else errors + rng.normal(0, 0.1, 3000)
    whole = ErrorChange(binary=binary).levels(errors)
    one = ErrorChange(binary=binary)
    parts = [one.levels(part) for part in np.array_split(errors, 37)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    limit = 2 * float(whole[:2000].max())
    assert whole[2300] > limit
    again = ErrorChange(binary=binary)
    assert again.first_above(errors, limit) == int(np.flatnonzero(whole > limit)[0])


@pytest.mark.parametrize("binary", [True, False])
def test_a_level_is_the_sum_over_lengths_of_how_much_better_two_means_explain_the_errors(binary: bool) -> None:
    rng = np.random.default_rng(2)
    errors = (rng.random(900) < np.where(np.arange(900) < 800, 0.1, 0.25)).astype(float)
    errors = errors if binary else errors + rng.normal(0, 0.1, 900)

    def likelihood(*parts: Any) -> float:
        """The greatest log likelihood where every part has its own mean, and all one variance."""
        if binary:
            logs = [np.log(np.where(part == 1, part.mean(), 1 - part.mean())).sum() for part in parts]
            return float(sum(logs))
        left = sum(((part - part.mean()) ** 2).sum() for part in parts)
        return float(-len(errors) / 2 * np.log(left))

    ratios = {}
    for n in lags().tolist():
        before, recent = errors[:-n], errors[-n:]
        if len(before) >= LEAST_BEFORE and recent.mean() > before.mean() and (binary or n >= LEAST_GAUSSIAN):
            ratios[n] = np.exp(likelihood(before, recent) - likelihood(errors)) / (1 + BALANCE / n)
    one = ErrorChange(binary=binary)
    assert one.levels(errors)[-1] == pytest.approx(np.log(1 + sum(ratios.values())), rel=1e-9)
    assert one.recent == max(ratios, key=ratios.__getitem__)


def test_what_gets_better_is_no_alarm() -> None:
    rng = np.random.default_rng(1)
    errors = (rng.random(3000) < np.where(np.arange(3000) < 2000, 0.3, 0.1)).astype(float)
    assert ErrorChange(binary=True).levels(errors).max() < 8


def test_rivers_detectors_are_calibrated_on_history_and_find_the_change() -> None:
    pytest.importorskip("river")
    from samestream.monitors.error_stream import BINARY_ONLY, NAMES, calibrated

    rng = np.random.default_rng(5)
    history = [(rng.random(4000) < 0.2).astype(float) for _ in range(3)]
    worse = np.concatenate([history[0], (rng.random(3000) < 0.5)]).astype(float)
    assert {"ddm"} == BINARY_ONLY
    for name in NAMES:
        if name == "kswin":
            continue  # a thousand times slower than the others
        found = calibrated(name, history, alarms=0)
        assert found is not None, name
        alarms = found.alarms(worse)
        assert [place for place in alarms if place < 4000] == [], name
        assert alarms, name
        assert alarms[0] < 5000, name


def test_without_river_they_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "river", None)
    monkeypatch.delitem(sys.modules, "samestream.monitors.error_stream", raising=False)
    with pytest.raises(SettingsError, match=r"monitors of M: a package is missing(?s:.*)samestream\[monitors\]"):
        watch(Performance(detectors=("adwin",)))
    watch(Performance())


def test_they_are_used_where_they_are_declared() -> None:
    pytest.importorskip("river")
    told = fed(watch(Performance(detectors=("adwin",))), life(NEEDED + 20, aged_from=NEEDED + 10))
    assert [record.verdict for record in told][:1] == ["model_aged"]


@pytest.mark.parametrize("detectors", ["fastest", (), ("adwin", "eddm")])
def test_only_detectors_that_exist_are_declared(detectors: Any) -> None:
    with pytest.raises(DeclarationError, match="no such detector of an error stream"):
        performance(detectors=detectors)


def test_they_are_declared_with_scores() -> None:
    from harness import SHOP

    class Health(Monitors, of=SHOP.models["Buys"], alarms="1/week"):
        scores = performance(), calibration(window="7d")

    assert Health.__monitors__.scores == (Performance(), Calibration("7d"))
