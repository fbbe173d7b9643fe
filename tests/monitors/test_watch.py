"""The whole watch: silent on a calm world, right about five faults, and a function of known time and data alone."""

import json
import os
from dataclasses import replace
from functools import cache
from typing import Any

import made_streams as made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.monitors.declared import Declared, Drift, Parity, Quality
from samestream.monitors.incidents import IncidentRecord
from samestream.monitors.watch import Watch
from samestream.schemas.errors import SamestreamError, SchemaError
from samestream.streams.models.profile import NumericProfile

DAY, HOUR, START = made.DAY, made.HOUR, made.START
STRUCK_US = START + 21 * DAY + 12 * HOUR + 20 * made.MINUTE


@cache
def world(days: int = 25) -> Any:
    return made.calm_world(days)


@cache
def records_of(fault: str) -> list[IncidentRecord]:
    return list(made.watched(made.struck(world(), fault, STRUCK_US)))


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_eight_calm_weeks_are_silent(seed: int) -> None:
    assert made.watched(made.calm_world(56, seed)) == []


@pytest.mark.parametrize(
    ("fault", "subject", "cause", "verdict", "within_hours"),
    [
        ("unit", "LateArrival.carrier_delay", "Departure.dep_delay", "unit", 2),
        ("frozen", "LateArrival.carrier_delay", "Departure.dep_delay", "frozen", 3),
        ("late", "LateArrival.carrier_delay", "Departure", "late_data", 4),
        ("missing", "LateArrival.temp", "Weather", "missing_source", 6),  # gaps of three hours are usual here
        ("bad", "LateArrival.carrier_delay", "Departure.dep_delay", "sentinel", 2),
    ],
)
def test_a_fault_is_one_incident_with_the_right_name(
    fault: str, subject: str, cause: str, verdict: str, within_hours: int
) -> None:
    records = records_of(fault)
    opened = [record for record in records if record.event == "open"]
    assert [(record.subject, record.cause) for record in opened] == [(subject, cause)]
    told = {record.verdict for record in records}
    assert records[-1].verdict == verdict
    # what comes three hours late is missing at first
    assert told <= {"late": {"missing_source", "late_data"}, "bad": {"bad_values", "sentinel"}}.get(fault, {verdict})
    assert {record.incident for record in records} == {opened[0].incident}
    assert STRUCK_US < opened[0].at_us <= STRUCK_US + within_hours * HOUR
    assert opened[0].at_us == opened[0].opened_at_us
    assert 0 < opened[0].severity <= 1
    assert subject.split(".")[1] in opened[0].evidence["affected"]


@pytest.mark.parametrize("fault", ["unit", "frozen", "late", "missing", "bad"])
def test_evidence_is_json_and_drift_is_told_within_the_incident(fault: str) -> None:
    records = records_of(fault)
    for record in records:
        json.dumps(record.evidence, allow_nan=False)
        assert record.evidence["alarms_per_week_declared"] == 1.0
        assert record.incident in record.evidence["command"]
    moved = [name for record in records for name in record.evidence.get("moved", {})]
    assert moved
    assert len(moved) == len(set(moved))
    assert set(moved) <= {*records[0].evidence["affected"], "score"}


def test_the_unit_is_named() -> None:
    evidence = records_of("unit")[0].evidence
    assert evidence["factor"] == "x60: minutes reported as seconds"
    assert evidence["after"]["q90"] > 20 * evidence["before"]["q90"] / 2


def test_lag_is_told_in_minutes() -> None:
    evidence = next(record.evidence for record in records_of("late") if record.verdict == "late_data")
    assert 180 <= evidence["median_lag_minutes"] <= 182
    assert evidence["median_lag_before_minutes"] < 1


def test_an_incident_closes_when_the_fault_is_repaired() -> None:
    broken = made.struck(world(), "unit", STRUCK_US)
    repaired_us = STRUCK_US + 5 * HOUR
    delay = np.where(
        world().departures.known_us < repaired_us,
        broken.departures.columns["dep_delay"],
        world().departures.columns["dep_delay"],
    )
    departures = replace(broken.departures, columns={"dep_delay": delay})
    records = made.watched(replace(broken, departures=departures))
    assert [record.event for record in records if record.event != "update"] == ["open", "close"]
    closed = records[-1]
    assert repaired_us + 6 * HOUR <= closed.at_us <= repaired_us + 9 * HOUR
    assert closed.verdict == "unit"


def test_a_week_without_history_tells_hard_evidence_only() -> None:
    early_us = START + 3 * DAY + 12 * HOUR
    short = made.calm_world(6)
    for fault in ("frozen", "late", "missing"):
        assert made.watched(made.struck(short, fault, early_us)) == []
    assert {record.verdict for record in made.watched(made.struck(short, "bad", early_us))} == {"bad_values"}


SCORES_US = STRUCK_US + 20 * DAY
"""The budget lets scores speak alone after 34 days, features after 17."""


def moved_world(shift: float) -> Any:
    """Delays that truly grew: every vector and event from an instant on, with nothing wrong at the source.

    Without a shift only the scores grow, and later.
    """
    at_us = STRUCK_US if shift else SCORES_US
    calm = world(35 if shift else 55)
    later = calm.vectors.known_us >= at_us
    columns = dict(calm.vectors.columns)
    columns["carrier_delay"] = columns["carrier_delay"] + np.where(later, shift, 0)
    scores = np.where(later, np.minimum(calm.scores + 0.4, 1), calm.scores)
    models = tuple(model for model in calm.models if model[1] <= at_us)
    return replace(calm, vectors=replace(calm.vectors, columns=columns), scores=scores, models=models)


def test_drift_that_no_source_explains_is_the_world() -> None:
    records = made.watched(moved_world(60.0))
    opened = [record for record in records if record.event == "open"]
    assert [(record.subject, record.cause, record.verdict) for record in opened] == [
        ("LateArrival.carrier_delay", "Departure.dep_delay", "world_changed")
    ]
    assert opened[0].at_us <= STRUCK_US + 3 * DAY  # two whole windows after it, in the middle of a day
    told = [name for record in records for name in record.evidence.get("moved", {})]
    assert sorted(told) == ["carrier_delay", "score"]  # the scores joined the incident


def test_drift_is_no_incident_below_the_shortest_history() -> None:
    """The move is there from the 21st day on; with a budget that asks for 43 days nothing is told of it as an incident."""

    def opened(per_week: float) -> list[str]:
        asked = Declared(made.LateArrival, per_week, (Drift("1d"), Quality()))  # type: ignore[arg-type]
        return [one.verdict for one in made.watched(moved_world(60.0), declared=asked) if one.event == "open"]

    assert opened(1.0) == ["world_changed"]
    assert opened(0.4) == []


def test_features_that_move_together_are_told_in_order() -> None:
    moved = moved_world(60.0)
    columns = {**moved.vectors.columns, "departures": moved.vectors.columns["departures"] + 500.0}
    columns["departures"] = np.where(
        moved.vectors.known_us >= STRUCK_US, columns["departures"], columns["departures"] - 500
    )
    records = made.watched(replace(moved, vectors=replace(moved.vectors, columns=columns)))
    told = [record for record in records if "order" in record.evidence]
    assert {name for record in told for name in record.evidence["moved"]} == {"carrier_delay", "departures"}
    assert {tuple(sorted(record.evidence["order"])) for record in told} == {("carrier_delay", "departures")}
    assert [record.event for record in records][:2] == ["open", "update"]  # one source, one incident


def test_a_move_is_told_by_its_size_its_histogram_and_where_it_sits() -> None:
    moved = next(r for r in made.watched(moved_world(30.0)) if r.event == "open").evidence["moved"]["carrier_delay"]
    sizes = moved["effect_sizes"]
    assert set(sizes) == {"psi", "jensen_shannon", "l_infinity", "ks", "wasserstein", "unseen_share"}
    assert sizes["psi"] == moved["psi"]
    assert 0.1 < sizes["l_infinity"] <= sizes["jensen_shannon"] < 1
    assert sizes["ks"] > 0.4
    assert sizes["wasserstein"] > 1
    shown = moved["histogram"]
    assert sum(shown["before"]) == pytest.approx(1, abs=0.01)
    assert sum(shown["after"][-3:]) > 0.5 > sum(shown["before"][-3:])
    assert moved["slices"] == []  # every hour of the day moved
    assert moved["slices_by"] == ["part of the day"]
    assert all(example["value"] > moved["before"]["q90"] for example in moved["examples"])


def test_incidents_are_told_with_what_they_touch_of_the_model() -> None:
    importance = {"carrier_delay": 0.6, "departures": 0.3, "temp": 0.1}

    def told(world: Any) -> set[float | None]:
        models = tuple(
            (name, at_us, {**reference, "importance": importance}) for name, at_us, reference in world.models
        )
        return {record.evidence.get("importance") for record in made.watched(replace(world, models=models))}

    assert told(made.struck(world(), "missing", STRUCK_US)) == {0.1}  # weather
    assert told(made.struck(world(), "unit", STRUCK_US)) == {0.6}  # delays, not how many there are
    assert told(made.struck(world(), "late", STRUCK_US)) == {0.9}  # whatever comes from departures
    assert told(moved_world(30.0)) == {0.6}
    assert told(moved_world(0.0)) == {1.0}  # the score is all of the model
    assert {record.evidence.get("importance") for record in records_of("unit")} == {None}  # no artifact told


def test_scores_that_move_alone_are_their_own_subject() -> None:
    records = made.watched(moved_world(0.0))
    assert [(r.event, r.subject, r.cause, r.verdict) for r in records] == [
        ("open", "LateArrival.score", "score", "world_changed")
    ]


def with_trained_scores(shown: Any) -> Any:
    """The same world, its models published with the scores of their training rows."""
    models = []
    for version, applies_from_us, reference in shown.models:
        before = shown.scores[: np.searchsorted(shown.vectors.known_us, applies_from_us)]
        models.append((version, applies_from_us, {**reference, "scores": NumericProfile.of(before).to_json()}))
    return replace(shown, models=tuple(models))


def test_scores_are_compared_with_those_of_training() -> None:
    assert made.watched(with_trained_scores(world(35))) == []
    (record,) = made.watched(with_trained_scores(moved_world(0.0)))
    assert (record.subject, record.verdict) == ("LateArrival.score", "world_changed")
    moved = record.evidence["moved"]["score"]
    assert moved["reference"] == "training"
    assert moved["psi"] > moved["psi_limit"]
    assert moved["after"]["q50"] > moved["before"]["q50"]
    (record,) = made.watched(moved_world(0.0))
    assert record.evidence["moved"]["score"]["reference"] == "last windows"


def test_scores_that_stay_where_they_moved_become_usual() -> None:
    calm = world(70)
    scores = np.where(calm.vectors.known_us >= SCORES_US, np.minimum(calm.scores + 0.4, 1), calm.scores)
    records = made.watched(replace(calm, scores=scores))
    assert [(record.event, record.cause) for record in records] == [("open", "score"), ("close", "score")]
    assert records[1].at_us == records[0].at_us + 14 * DAY


def test_a_model_trained_on_the_new_world_ends_the_incident() -> None:
    moved = moved_world(60.0)
    newer = made.trained(moved.vectors, first_day=30, every=7, days=35)
    for _, _, reference in newer:
        reference["from_us"] = STRUCK_US
    records = made.watched(replace(moved, models=(*moved.models, *newer)))
    assert [record.event for record in records if record.event != "update"] == ["open", "close"]


def test_parity_names_the_features_and_closes_after_six_clean_hours() -> None:
    watch = Watch(made.LINEAGE, made.SOURCES, made.DECLARED)
    watch.on_parity(1000, 0, {}, START)
    assert watch.records() == []
    watch.on_parity(1000, 7, {"temp": 7, "departures": 1, "carrier_delay": 0}, START + HOUR)
    watch.on_parity(1000, 9, {"temp": 9}, START + 2 * HOUR)
    for hours in (3, 6, 9):
        watch.on_parity(1000, 0, {}, START + hours * HOUR)
    opened, closed = watch.records()
    assert (opened.event, opened.subject, opened.verdict) == ("open", "LateArrival.departures", "definition_or_code")
    assert opened.evidence["by_feature"] == {"departures": 1, "temp": 7}
    assert opened.evidence["affected"] == ["departures", "temp"]
    assert (closed.event, closed.incident, closed.at_us) == ("close", opened.incident, START + 9 * HOUR)


def test_only_what_is_declared_is_watched() -> None:
    declared = Declared(of=made.LateArrival, alarms_per_week=1.0, features=(Parity(),))
    for fault in ("unit", "missing"):
        assert made.watched(made.struck(world(), fault, STRUCK_US), declared=declared) == []


def test_progress_waits_for_the_slowest_clock() -> None:
    watch = Watch(made.LINEAGE, made.SOURCES, made.DECLARED)
    watch.source_clock(5)
    watch.vector_clock(4)
    watch.model_clock(3)
    watch.score_clock(9)
    assert watch.progress == {"sources": 5, "features": 3, "scores": 3}


def test_what_does_not_belong_is_refused() -> None:
    watch = Watch(made.LINEAGE, made.SOURCES, made.DECLARED)
    none = np.zeros(0, np.int64)
    with pytest.raises(SamestreamError, match="not watched"):
        watch.on_events("Tide", none, none, {})
    with pytest.raises(SamestreamError, match="columns are missing"):
        watch.on_events("Departure", none, none, {})
    with pytest.raises(SchemaError, match="another bucket rule"):
        watch.on_model("v1", START, {"features": {"temp": {"rule": "kll"}}})


@cache
def mixed_world() -> Any:
    """A unit fault, then weather missing: source, feature and score families all have something to say."""
    both = made.struck(world(), "unit", STRUCK_US)
    weather = made.between(both.weather, 0, STRUCK_US + DAY)
    vectors, scores = made.served(both.departures, weather, np.random.default_rng(3))
    return replace(both, weather=weather, vectors=vectors, scores=scores)


def fed(world: Any, cuts: dict[str, list[float]], order: Any) -> list[IncidentRecord]:
    """Feed each family in its own pieces, in any interleaving of the families; parity too."""
    end = world.end_us
    watch = Watch(made.LINEAGE, made.SOURCES, made.DECLARED)
    reached = dict.fromkeys(cuts, START)
    todo = {family: [START + int(share * (end - START)) for share in sorted(cuts[family])] + [end] for family in cuts}
    records: list[IncidentRecord] = []
    while any(todo.values()):
        family = order.choice(sorted(name for name, left in todo.items() if left))
        since, until = reached[family], todo[family].pop(0)
        reached[family] = until
        if family == "sources":
            for event, stream in (("Departure", world.departures), ("Weather", world.weather)):
                part = made.between(stream, since, until)
                middle = len(part.known_us) // 2
                for piece in (part.part(0, middle), part.part(middle, len(part.known_us))):
                    watch.on_events(event, piece.known_us, piece.time_us, piece.fields())
            watch.source_clock(until)
        elif family == "vectors":
            part = made.between(world.vectors, since, until)
            watch.on_vectors(part.known_us, part.fields())
            watch.vector_clock(until)
        elif family == "scores":
            start, stop = np.searchsorted(world.vectors.known_us, [since, until])
            watch.on_scores(world.vectors.known_us[start:stop], world.scores[start:stop])
            watch.score_clock(until)
        else:
            for version, applies_from_us, reference in world.models:
                if since <= applies_from_us < until:
                    watch.on_model(version, applies_from_us, reference)
            watch.model_clock(until)
        records += watch.records()
    return sorted(records, key=lambda r: json.dumps([r.at_us, r.incident, r.event, r.evidence], sort_keys=True))


@cache
def at_one_go() -> list[IncidentRecord]:
    import random

    return fed(mixed_world(), {name: [] for name in ("sources", "vectors", "scores", "models")}, random.Random(0))


cuts = st.lists(st.floats(0, 1), max_size=6)


@settings(max_examples=30 if os.environ.get("LAW") == "long" else 5, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(("sources", "vectors", "scores", "models"), cuts)), st.randoms())
def test_batches_and_interleaving_change_nothing(cuts: dict[str, list[float]], order: Any) -> None:
    expected = at_one_go()
    assert {record.verdict for record in expected} == {"unit", "missing_source"}
    assert {name for record in expected for name in record.evidence.get("moved", {})} >= {
        "carrier_delay",
        "temp",
        "score",
    }
    assert fed(mixed_world(), cuts, order) == expected
