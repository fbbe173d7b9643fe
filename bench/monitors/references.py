"""Part *references*: how often features of the flights year alarm, by what they are compared with and how often a model is trained.

Nothing is injected, so every incident is the world's (or a false one), and sources are not watched, which would explain some.
Features are looked up at each boarding much as the example does: the mean delay of the last departures known of by origin and by
carrier, the last weather known at the origin, distance and texts. A quarter of the budget is for features and scores: 0.25 a week.
"""

from __future__ import annotations

import time
from functools import reduce
from typing import Any

import numpy as np
from flights_year import DAY_US, Column, Ints, year

from samestream.examples import flights
from samestream.monitors.declared import Declared, drift
from samestream.monitors.incidents import Lineage
from samestream.monitors.watch import Watch
from samestream.streams.models.category_profile import merged, profile_of

HISTORY_DAYS = 30
WINDOWS = ("1d", "3h")
REFERENCES = ("training", "matched", "trailing")
TRAINED_EVERY = (1, 28)


def features() -> tuple[Ints, dict[str, Column]]:
    """Known time and features of every boarding of the year, in order."""
    boarding, departure, weather = (year()[name] for name in ("Boarding", "Departure", "Weather"))
    found: dict[str, Column] = {name: boarding.fields[name] for name in ("distance", "origin", "carrier")}
    delay, known = departure.fields["dep_delay"]
    for by, last in (("origin", 30), ("carrier", 50)):
        found[f"{by}_delay"] = _recent_mean(
            boarding.known_us,
            boarding.fields[by][0],
            departure.known_us[known],
            departure.fields[by][0][known],
            delay[known],
            last,
        )
    stations = np.array([key[:3] for key in weather.keys.tolist()], object)
    for name in ("temp", "wind_speed", "visib", "precip"):
        values, there = weather.fields[name]
        found[name] = _recent_mean(
            boarding.known_us, boarding.fields["origin"][0], weather.known_us[there], stations[there], values[there], 1
        )
    return boarding.known_us, found


def _recent_mean(asked_us: Ints, asked: Any, known_us: Ints, keys: Any, values: Any, last: int) -> Column:
    """Of each row asked for, the mean of the last values of its key that were known before it; null where none was."""
    means, there = np.zeros(len(asked_us)), np.zeros(len(asked_us), np.bool_)
    for key in np.unique(asked):
        rows, events = np.flatnonzero(asked == key), np.flatnonzero(keys == key)
        order = events[np.argsort(known_us[events], kind="stable")]
        sums = np.concatenate([[0.0], np.cumsum(values[order])])
        upto = np.searchsorted(known_us[order], asked_us[rows], side="left")
        begin = np.maximum(upto - last, 0)
        there[rows] = upto > 0
        means[rows] = (sums[upto] - sums[begin]) / np.maximum(upto - begin, 1)
    return means, there


def rows(quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Incidents a week of features alone. quick : windows of a day."""
    known_us, columns = features()
    names = tuple(columns)
    start_us = int(known_us[0]) // DAY_US * DAY_US
    days = int(known_us[-1] - start_us) // DAY_US + 1
    cuts = np.searchsorted(known_us, start_us + np.arange(days + 1) * DAY_US)
    parts = [slice(*cuts[day : day + 2]) for day in range(days)]
    daily = [
        {name: profile_of(values[part], valid[part]) for name, (values, valid) in columns.items()} for part in parts
    ]
    told = []
    for window in WINDOWS[:1] if quick else WINDOWS:
        for reference in REFERENCES:
            for every in TRAINED_EVERY:
                began = time.process_time()
                model = flights.LateArrival
                declared = Declared(of=model, alarms_per_week=1.0, features=(drift(window, reference),))
                watch = Watch(Lineage("Flights", names, {name: ((name, name),) for name in names}), [], declared)
                opened = 0
                for day, part in enumerate(parts):
                    if day >= HISTORY_DAYS and (day - HISTORY_DAYS) % every == 0:
                        history = daily[day - HISTORY_DAYS : day]
                        trained = {name: reduce(merged, [past[name] for past in history]).to_json() for name in names}
                        from_us = start_us + (day - HISTORY_DAYS) * DAY_US
                        watch.on_model(str(day), start_us + day * DAY_US, {"features": trained, "from_us": from_us})
                    watch.on_vectors(
                        known_us[part], {name: (v[part], there[part]) for name, (v, there) in columns.items()}
                    )
                    for clock in (watch.source_clock, watch.vector_clock, watch.model_clock):
                        clock(start_us + (day + 1) * DAY_US)
                    opened += sum(record.event == "open" for record in watch.records())
                told.append(
                    {
                        "window": window,
                        "reference": reference,
                        "trained_every_days": every,
                        "incidents": opened,
                        "incidents_per_week": round(opened / (days - HISTORY_DAYS) * 7, 3),
                        "cpu_s": round(time.process_time() - began, 1),
                    }
                )
                print("  ".join(f"{name} {value}" for name, value in told[-1].items()), flush=True)
    return {"references": told}
