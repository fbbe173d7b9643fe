"""The year of flights without a fault, as it was and with its days in another order: how often do all monitors alarm?

The core is the live one, fed the same arrays: of sources, of served vectors and scores, of outcomes. What counts as real on
unfaulted data was written down beforehand: `REAL`. Any other incident is false.
"""

from __future__ import annotations

import hashlib
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from flights_year import DAY_US, Ints, Rows, new_outcome_watch, new_watch
from intervals import of_rate
from served_year import ServedYear, moved

from samestream.examples.flights_data import local_instant_us
from samestream.monitors.diagnosis import instant
from samestream.monitors.incidents import IncidentRecord, Lineage
from samestream.monitors.outcome_watch import OutcomeWatch
from samestream.monitors.sources import SourceFamily

FROM_DAY, DAYS = 21, 365
"""Days, UTC, whose incidents count: from the first limits to the last day that has all its flights."""
FIRST_DAY, LAST_DAY = 63, 355
"""Faults strike between these days: after nine weeks, three days of learning and eight weeks of history."""
REAL = (
    ("the storm of February", local_instant_us(2, 8), local_instant_us(2, 11)),
    ("December", local_instant_us(12, 1), local_instant_us(13, 1)),
)
"""In these spans an incident that says that the world changed is right."""


def clean_year(
    events: dict[str, Rows], served: ServedYear, start_us: int
) -> tuple[dict[int, SourceFamily], list[IncidentRecord], Lineage]:
    """All monitors over a year: the sources at every midnight from which a fault may strike, and all incidents opened."""
    watch, outcomes = new_watch(), new_outcome_watch()
    family = watch._family
    opened, kept = [], {}
    labelled = np.flatnonzero(~np.isnan(served.label) & ~np.isnan(served.score))
    labelled = labelled[np.argsort(served.label_known_us[labelled], kind="stable")]
    label_us = served.label_known_us[labelled]
    for day in range(366):
        if FIRST_DAY <= day <= LAST_DAY:
            kept[day] = deepcopy(family)
        from_us = start_us + day * DAY_US
        for model in served.models:
            if model.applies_from_us == from_us:
                watch.on_model(model.version, from_us, model.reference)
        for name, part in events.items():
            piece = part.between(from_us, from_us + DAY_US)
            watch.on_events(name, piece.known_us, piece.time_us, piece.fields, piece.keys, piece.partitions)
        now = slice(*np.searchsorted(served.known_us, [from_us, from_us + DAY_US]))
        known = served.known_us[now]
        watch.on_vectors(known, {name: (v[now], there[now]) for name, (v, there) in served.columns.items()})
        score = served.score[now]
        watch.on_scores(known[~np.isnan(score)], score[~np.isnan(score)])
        for clock in (watch.source_clock, watch.vector_clock, watch.model_clock, watch.score_clock):
            clock(from_us + DAY_US)
        said = watch.records()
        opened += [record for record in said if record.event == "open"]
        low, high = np.searchsorted(label_us, [from_us, from_us + DAY_US])
        for row in labelled[low:high].tolist():
            at_us = int(served.label_known_us[row])
            while said and said[0].at_us <= at_us:
                record = said.pop(0)
                _tell(outcomes, record)
            outcomes.on_outcome(at_us, _outcome(served, row, at_us))
        for record in said:
            _tell(outcomes, record)
        opened += [record for record in outcomes.records() if record.event == "open"]
    return kept, opened, watch.lineage


def _tell(outcomes: OutcomeWatch, record: IncidentRecord) -> None:
    outcomes.on_incident(
        record.incident, record.event, record.subject, record.verdict, record.opened_at_us, record.at_us
    )


def _outcome(served: ServedYear, row: int, at_us: int) -> dict[str, Any]:
    return {
        "state": "labelled", "event_time": int(served.known_us[row]), "score": float(served.score[row]),
        "label": float(served.label[row]), "label_time": at_us, "trigger_topic": "",
        "trigger_partition": int(served.vectors.rank[row]), "trigger_offset": int(served.vectors.offset[row]),
    }  # fmt: skip


def told(data: str, opened: list[IncidentRecord], start_us: int) -> dict[str, Any]:
    """How many incidents a week were false from the day on which limits were first set."""
    since = [record for record in opened if FROM_DAY * DAY_US <= record.at_us - start_us < DAYS * DAY_US]
    false = [
        record
        for record in since
        if not (record.verdict == "world_changed" and any(low <= record.at_us < high for _, low, high in REAL))
    ]
    for record in since:
        mark = "false" if record in false else "true "
        print(f"  {mark} {instant(record.at_us)} {record.verdict:18} {record.cause}")
    weeks = (DAYS - FROM_DAY) / 7
    low, high = of_rate(len(false), weeks)
    print(
        f"{data}: {len(false)} false incidents of {len(since)} in {weeks:.0f} weeks, {len(false) / weeks:.2f} a week "
        f"(95 %: {low:.2f} to {high:.2f})",
        flush=True,
    )
    return {
        "system": "samestream", "data": data, "false_incidents_per_week": len(false) / weeks,
        "low": low, "high": high, "incidents": len(since),
    }  # fmt: skip


def digest_of(kept: dict[int, SourceFamily]) -> str:
    limits = [part.limits.tobytes() for day in sorted(kept) for s in kept[day].sources.values() for part in s.detectors]
    return hashlib.sha256(b"".join(limits)).hexdigest()


def resampled_days(rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Which day stands for each: one of those within ten days of it, the first three weeks aside."""
    source = np.arange(366)
    source[21:] = np.clip(source[21:] + rng.integers(-10, 11, 366 - 21), 0, 364)
    return source


def resampled_year(
    events: dict[str, Rows], served: ServedYear, start_us: int, rng: np.random.Generator
) -> list[IncidentRecord]:
    """All incidents of the year whose days are in another order."""
    source = resampled_days(rng)
    places, by_us = resampled(served.known_us, start_us, source)
    return clean_year(resampled_events(events, start_us, source), moved(served, places, by_us), start_us)[1]


def resampled(known_us: Ints, start_us: int, source: Ints) -> tuple[Ints, Ints]:
    """The rows of those days, in order, and by how much each moves, in microseconds."""
    bounds = np.searchsorted((known_us - start_us) // DAY_US, np.arange(367))
    places = [np.arange(bounds[taken], bounds[taken + 1]) for taken in source]
    return np.concatenate(places), np.repeat((np.arange(366) - source) * DAY_US, [len(p) for p in places])


def resampled_events(events: dict[str, Rows], start_us: int, source: Ints) -> dict[str, Rows]:
    """Whole days in another order; an event that comes twice is another one."""
    found = {}
    for name, part in events.items():
        places, by_us = resampled(part.known_us, start_us, source)
        mixed = part.take(places)
        keys = np.array([f"{key} {shift}" for key, shift in zip(mixed.keys, by_us.tolist(), strict=True)], object)
        if name == "Weather":
            keys = mixed.keys
        found[name] = replace(mixed, known_us=mixed.known_us + by_us, time_us=mixed.time_us + by_us, keys=keys)
    return found
