"""Labels joined on Spark: of each vector the first value that is not null within the horizon, in the order of `OutcomeTask`."""

from __future__ import annotations

from typing import Any

from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.spark.point_in_time import DataFrame, SparkDatabase
from samestream.streams.spark.terms import quoted
from samestream.streams.spark.words import WORDS


def joined(
    plan: Plan, model: ModelPlan, vectors: DataFrame, events: DataFrame, session: Any
) -> tuple[DataFrame, int | None]:
    """The vectors with `_y` and `_label_known` (microseconds), null where there is none; and up to when horizons are over.

    vectors : `trigger_partition`, `trigger_offset`, `entity`, `event_time`, and whatever else comes with them
    events : those that labels are made of, as `log_frames.frame` gives them
    The instant is in microseconds: horizons that end before it are over. None: there is no event, so no horizon is.
    """
    input = plan.events[model.label.event]
    database = SparkDatabase(session, vectors, {input.name: events})
    database.stage_events("happened", input, ("_known",))
    assert input.gate is not None
    gate = input.gate
    # in the order of offsets, and in the merged one, each event with the greatest times up to it
    database.make(
        "running",
        "SELECT *, max(_known) OVER (PARTITION BY _partition ORDER BY _offset) AS _running, "
        "max(_time) OVER (PARTITION BY _partition ORDER BY _offset) AS _newest FROM happened",
    )
    database.make(
        "merged", "SELECT *, max(_time) OVER (ORDER BY _running, _partition, _offset) AS _greatest FROM running"
    )
    database.make(
        "applied",
        f"SELECT * FROM merged WHERE _time >= _newest - {gate.lateness_us} "
        f"AND _time >= _greatest - {gate.lateness_us + gate.alignment_us}",
    )
    value = WORDS.dialect.expression(model.label.value)
    y = f"CAST({value} AS STRING)" if model.output == "class" else f"CAST({value} AS DOUBLE)"
    by = f"CAST({quoted(model.label.by)} AS STRING)"
    database.make(
        "labels",
        f"SELECT {by} AS _entity, _time, named_struct('at', _running, 'p', _partition, 'o', _offset) AS _place, {y} AS _y, _known "
        f"FROM applied WHERE ({value}) IS NOT NULL AND {by} IS NOT NULL",
    )
    handed = database.taken(vectors)
    handed.createOrReplaceTempView("asking")
    found = database.result(
        "SELECT a.trigger_partition, a.trigger_offset, min_by(named_struct('y', l._y, 'known', l._known), l._place) AS _label "
        "FROM asking a JOIN labels l ON l._entity = CAST(a.entity AS STRING) AND l._time > unix_micros(a.event_time) "
        f"AND l._time <= unix_micros(a.event_time) + {model.label.within_us} "
        "GROUP BY a.trigger_partition, a.trigger_offset"
    )
    places = ["trigger_partition", "trigger_offset"]
    labelled = vectors.join(found, places, "left")
    labelled = labelled.selectExpr("*", "_label.y AS _y", "_label.known AS _label_known").drop("_label")
    passed = database.first("SELECT min(newest) FROM (SELECT max(_time) AS newest FROM happened GROUP BY _partition)")
    return labelled, None if passed is None else int(passed) - gate.lateness_us
