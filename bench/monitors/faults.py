"""Part *faults*: a year of flights, clean, resampled by days, and with faults of thirteen kinds, sixty of each.

The watch runs over the clean year first; its state at every midnight is kept, with all limits, and their digest seeds the
draw of the faults: nothing about a fault is known before the limits are frozen. A fault strikes at the instant of an event
drawn from its source. The core is the live one, fed the same arrays.

What counts as real on unfaulted data was written down beforehand: `REAL`. Any other incident is false.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
from flights_year import DAY_US, HOUR_US, Rows, new_watch, year
from intervals import of_rate, of_share
from kinds import FAULTS, Fault
from oracle import alarm_us

from samestream.examples.flights_data import local_instant_us
from samestream.monitors.diagnosis import instant
from samestream.monitors.incidents import IncidentBook, IncidentRecord, Lineage
from samestream.monitors.sources import SourceFamily

FIRST_DAY, LAST_DAY = 63, 355
"""Faults strike between these days: after nine weeks, three days of learning and eight weeks of history."""
EACH, EACH_QUICK = 60, 8
HORIZON_US, SETTLE_US = 4 * DAY_US, 2 * HOUR_US
REAL = (
    ("the storm of February", local_instant_us(2, 8), local_instant_us(2, 11)),
    ("December", local_instant_us(12, 1), local_instant_us(13, 1)),
)
"""In these spans an incident that says that the world changed is right."""


def rows(quick: bool) -> dict[str, list[dict[str, Any]]]:
    events = year()
    start_us = min(int(part.known_us[0]) for part in events.values()) // DAY_US * DAY_US
    started = time.process_time()
    kept, clean, lineage = clean_year(events, start_us)
    found = [told("the year as it was", clean, start_us)]
    digest = digest_of(kept)
    print(
        f"limits of {len(kept)} nights are frozen: {digest[:16]} ({time.process_time() - started:.0f} CPU s)",
        flush=True,
    )
    if not quick:
        _, again, _ = clean_year(resampled(events, start_us, np.random.default_rng(2)), start_us)
        found.append(told("days resampled within ten days", again, start_us))
    rng = np.random.default_rng(int(digest[:16], 16))
    faults = [of_kind(fault, kept, events, lineage, start_us, rng, EACH_QUICK if quick else EACH) for fault in FAULTS]
    return {"faults": faults, "clean": found}


def clean_year(events: dict[str, Rows], start_us: int) -> tuple[dict[int, SourceFamily], list[IncidentRecord], Lineage]:
    """The watch over a year: its sources at every midnight from which a fault may strike, and all incidents opened."""
    watch = new_watch()
    family = watch._family
    opened, kept = [], {}
    for day in range(366):
        if FIRST_DAY <= day <= LAST_DAY:
            kept[day] = deepcopy(family)
        from_us = start_us + day * DAY_US
        for name, part in events.items():
            piece = part.between(from_us, from_us + DAY_US)
            watch.on_events(name, piece.known_us, piece.time_us, piece.fields, piece.keys, piece.partitions)
        watch.source_clock(from_us + DAY_US)
        opened += [record for record in watch.records() if record.event == "open"]
    return kept, opened, watch.lineage


def told(data: str, opened: list[IncidentRecord], start_us: int) -> dict[str, Any]:
    """How many incidents a week were false from the day on which limits were first set."""
    since_us = start_us + 21 * DAY_US
    false = [
        record
        for record in opened
        if record.at_us >= since_us
        and not (record.verdict == "world_changed" and any(low <= record.at_us < high for _, low, high in REAL))
    ]
    for record in false:
        print(f"  {instant(record.at_us)} {record.verdict:18} {record.cause}")
    weeks = (365 - 21) / 7
    low, high = of_rate(len(false), weeks)
    print(
        f"{data}: {len(false)} false incidents in {weeks:.0f} weeks, {len(false) / weeks:.2f} a week "
        f"(95 %: {low:.2f} to {high:.2f})"
    )
    return {
        "system": "samestream", "data": data, "false_incidents_per_week": len(false) / weeks,
        "low": low, "high": high,
    }  # fmt: skip


def digest_of(kept: dict[int, SourceFamily]) -> str:
    limits = [part.limits.tobytes() for day in sorted(kept) for s in kept[day].sources.values() for part in s.detectors]
    return hashlib.sha256(b"".join(limits)).hexdigest()


def resampled(events: dict[str, Rows], start_us: int, rng: np.random.Generator) -> dict[str, Rows]:
    """Whole days in another order: each is one of those within ten days of it, the first three weeks aside."""
    source = np.arange(366)
    source[21:] = np.clip(source[21:] + rng.integers(-10, 11, 366 - 21), 0, 364)
    found = {}
    for name, part in events.items():
        day = (part.known_us - start_us) // DAY_US
        bounds = np.searchsorted(day, np.arange(367))
        places = [np.arange(bounds[taken], bounds[taken + 1]) for taken in source]
        moved = np.repeat((np.arange(366) - source) * DAY_US, [len(p) for p in places])
        mixed = part.take(np.concatenate(places))
        keys = np.array([f"{key} {shift}" for key, shift in zip(mixed.keys, moved.tolist(), strict=True)], object)
        if name == "Weather":
            keys = mixed.keys
        found[name] = replace(mixed, known_us=mixed.known_us + moved, time_us=mixed.time_us + moved, keys=keys)
    return found


def of_kind(
    fault: Fault, kept: dict[int, SourceFamily], events: dict[str, Rows], lineage: Lineage, start_us: int,
    rng: np.random.Generator, each: int,
) -> dict[str, Any]:  # fmt: skip
    caught = in_bound = right = 0
    delays, best, missed = [], [], defaultdict(int)
    for _ in range(each):
        event, fields = fault.targets[int(rng.integers(len(fault.targets)))]
        clean = events[event]
        low, high = np.searchsorted(clean.known_us, [start_us + FIRST_DAY * DAY_US, start_us + LAST_DAY * DAY_US])
        at_us = int(clean.known_us[int(rng.integers(low, high))])
        day = (at_us - start_us) // DAY_US
        midnight_us = start_us + day * DAY_US
        before = clean.between(midnight_us - DAY_US, at_us + HORIZON_US)
        struck = fault.strike(before, fields, at_us, rng)
        if not len(struck.faulty_us):
            continue
        said = run(deepcopy(kept[day]), events, event, struck, lineage, midnight_us, at_us)
        n = int(np.searchsorted(struck.faulty_us, said.at_us, side="right")) if said else None
        enough_us = struck.faulty_us[min(2, len(struck.faulty_us) - 1)]
        if fault.kind == "hard":
            good = said is not None and said.at_us <= max(int(enough_us), int(struck.faulty_us[0]) + HOUR_US)
        else:
            good = n is not None and n <= 100
            known_us = alarm_us(fault, fields, clean, struck.rows, at_us, struck.gone)
            best.append(
                np.inf if known_us is None else max(int(np.searchsorted(struck.faulty_us, known_us, side="right")), 1)
            )
        caught += said is not None
        in_bound += good
        delays.append(np.inf if n is None else max(n, 1))
        if said is not None and said.verdict in fault.verdicts:
            right += 1
        if not good or said is None or said.verdict not in fault.verdicts:
            missed[f"{'.'.join((event, *fields))}: {said.verdict if said else 'missed'} after {n}"] += 1
    n = len(delays)
    ratio = float(np.median(delays) / np.median(best)) if best else None
    low, high = of_share(in_bound, n)
    print(
        f"{fault.name:22} {n} injected, {caught} caught, {in_bound} in bound ({low:.0%} to {high:.0%}), verdict right {right}, "
        f"median delay {np.median(delays):.0f}"
        + (f", oracle {np.median(best):.0f}, ratio {ratio:.2f}" if best else ""),
        flush=True,
    )
    for what, count in sorted(missed.items(), key=lambda part: -part[1])[:6]:
        print(f"    {count} x {what}")
    return {
        "fault": fault.name, "kind": fault.kind, "system": "samestream", "injected": n, "caught": caught,
        "caught_in_bound": in_bound, "median_delay_ratio": ratio, "verdict_right": right,
        "median_delay": float(np.median(delays)), "caught_in_bound_low": low, "caught_in_bound_high": high,
    }  # fmt: skip


def run(
    family: SourceFamily,
    events: dict[str, Rows],
    event: str,
    struck: Any,
    lineage: Lineage,
    midnight_us: int,
    at_us: int,
) -> IncidentRecord | None:
    """What the watch says of a struck source: the instant of the first word of it, and the last verdict told soon after."""
    book = IncidentBook(lineage, 1.0)
    said: list[IncidentRecord] = []
    hour_us = midnight_us
    while hour_us < at_us + HORIZON_US:
        until_us = hour_us + HOUR_US
        for name, part in events.items():
            piece = (struck.rows if name == event else part).between(hour_us, until_us)
            family.sources[name].add(piece.known_us, piece.time_us, piece.fields, piece.keys, piece.partitions)
        rejected = struck.rejected_us[(struck.rejected_us >= hour_us) & (struck.rejected_us < until_us)]
        family.sources[event].rejected.add(rejected)
        family.advance(until_us, book.observe)
        said += [
            record
            for record in book.records()
            if record.event != "close" and record.at_us >= at_us and record.cause.split(".")[0] == event
        ]
        if said and until_us >= max(said[0].at_us, int(struck.faulty_us[0])) + SETTLE_US:
            break
        hour_us = until_us
    return replace(said[0], verdict=said[-1].verdict) if said else None
