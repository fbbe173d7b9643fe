"""Part *faults*: a year of flights, clean, resampled by days, and with faults of twenty kinds, sixty of each.

The watch runs over the clean year first; its state at every midnight is kept, with all limits, and their digest seeds the
draw of the faults: nothing about a fault is known before the limits are frozen. A fault strikes at the instant of an event
drawn from its source. The core is the live one, fed the same arrays: of sources, of served vectors and scores, of outcomes.
Peers watch the same columns and are shown the same faults.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from clean_year import DAYS, FIRST_DAY, LAST_DAY, clean_year, digest_of, resampled_year, told
from flights_year import DAY_US, HOUR_US, Ints, Rows, year
from intervals import of_rate, of_share
from kinds import FAULTS, Fault
from oracle import alarm_us
from peer_year import Injection, Year
from peers import peers
from served_faults import ServedFault, faulty_us, served_faults, strike_at
from served_year import ServedYear, served_year

from samestream.monitors.incidents import IncidentBook, IncidentRecord, Lineage
from samestream.monitors.sources import SourceFamily

EACH, EACH_QUICK = 60, 8
HORIZON_US, SETTLE_US = 4 * DAY_US, 2 * HOUR_US


def rows(quick: bool) -> dict[str, list[dict[str, Any]]]:
    events, served = year(), served_year()
    start_us = min(int(part.known_us[0]) for part in events.values()) // DAY_US * DAY_US
    started = time.process_time()
    kept, clean, lineage = clean_year(events, served, start_us)
    found = [told("the year as it was", clean, start_us)]
    compared = f"{served.parity.compared:,} vectors against their replay: {served.parity.mismatched} differ"
    digest = digest_of(kept)
    print(
        f"{compared}\nlimits of {len(kept)} nights are frozen: {digest[:16]} ({time.process_time() - started:.0f} CPU s)",
        flush=True,
    )
    if not quick:
        again = resampled_year(events, served, start_us, np.random.default_rng(2))
        found.append(told("days resampled within ten days", again, start_us))
    opened = sum(FIRST_DAY * DAY_US <= record.at_us - start_us < DAYS * DAY_US for record in clean)
    rng = np.random.default_rng(int(digest[:16], 16))
    each = EACH_QUICK if quick else EACH
    drawn = [of_kind(fault, kept, events, lineage, start_us, rng, each) for fault in FAULTS]
    kept.clear()
    drawn += [of_served(fault, served, start_us, rng, each) for fault in served_faults(served)]
    faults = [one.ours for one in drawn]
    with tempfile.TemporaryDirectory() as folder:
        columns = columns_of(events, served, start_us)
        for peer, row in tuned(columns, start_us, opened, Path(folder), quick):
            found.append(row)
            if peer is None:
                continue
            for one in drawn:
                some = slice(None, None, peer.every)
                said = peer.caught_us(one.injections[some])
                faults.append(judged(one.fault, one.kind, peer.name, said, one.faulty[some], one.best[some], None))
            peer.close()
    return {"faults": faults, "clean": found}


@dataclass(frozen=True)
class Drawn:
    """Faults of one kind, what ours did about them, and what others are shown. best : of the oracle, in faulty values."""

    fault: str
    kind: str
    ours: dict[str, Any]
    injections: list[Injection]
    faulty: list[Ints]
    best: list[float]


def columns_of(events: dict[str, Rows], served: ServedYear, start_us: int) -> Year:
    """What peers watch: the fields of sources and how late events are known, features, and the score."""
    columns = Year(start_us)
    for event, part in events.items():
        for name, column in watched_by_peers(part).items():
            columns.add(event, name, part.known_us, column)
    for name, column in served.columns.items():
        columns.add(SERVED, name, served.known_us, column)
    scored = ~np.isnan(served.score)
    columns.add(SERVED, "score", served.known_us, (np.nan_to_num(served.score), scored))
    return columns


def tuned(columns: Year, start_us: int, opened: int, folder: Path, quick: bool) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Each peer with the parameter that opens at most so many incidents on the clean year, and how many it opens.

    None for one that does not run here.
    """
    weeks = (DAYS - FIRST_DAY) / 7
    found, absent = peers(columns, folder, quick)
    for name, reason in absent.items():
        print(f"{name} is absent: {reason}", flush=True)
        row = {"system": name, "data": "the year as it was", "false_incidents_per_week": None, "note": reason}
        yield None, row
    for peer in found:
        started = time.process_time()
        count = peer.tune(opened)
        print(
            f"{peer.name}: {count} incidents where ours opened {opened} (limit {peer.limit}; "
            f"{time.process_time() - started:.0f} CPU s)",
            flush=True,
        )
        low, high = of_rate(count, weeks)
        yield (
            peer,
            {
                "system": peer.name, "data": "the year as it was", "false_incidents_per_week": count / weeks, "low": low,
                "high": high, "note": "" if count <= opened else "no parameter keeps it as calm as ours",
            },
        )  # fmt: skip


SERVED = "served"


def watched_by_peers(part: Rows) -> dict[str, Any]:
    """The fields of a source, and how late its events are known, in seconds."""
    lateness = (part.known_us - part.time_us) / 1e6
    return {**part.fields, "(lateness)": (lateness, np.ones(len(part), np.bool_))}


def judged(
    fault: str, kind: str, system: str, said_us: list[int | None], faulty: list[Ints], best: list[float],
    right: int | None, missed: Mapping[str, int] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What one system did about one kind of fault. best : of the oracle, in faulty values; none of hard evidence."""
    caught = in_bound = 0
    delays = []
    for at_us, times_us in zip(said_us, faulty, strict=True):
        count = None if at_us is None else int(np.searchsorted(times_us, at_us, side="right"))
        delays.append(np.inf if count is None else max(count, 1))
        caught += at_us is not None
        in_bound += is_in_bound(kind, at_us, count, times_us)
    n = len(delays)
    ratio = float(np.median(delays) / np.median(best)) if best and n else None
    low, high = of_share(in_bound, n)
    print(
        f"{fault:26} {system:15} {n} injected, {caught} caught, {in_bound} in bound ({low:.0%} to {high:.0%}), "
        f"verdict right {right}, median delay {np.median(delays):.0f}"
        + (f", oracle {np.median(best):.0f}, ratio {ratio:.2f}" if ratio is not None else ""),
        flush=True,
    )
    for what, count in sorted((missed or {}).items(), key=lambda part: -part[1])[:6]:
        print(f"    {count} x {what}", flush=True)
    told: dict[str, Any] = {
        "fault": fault, "kind": kind, "system": system, "injected": n, "caught": caught, "caught_in_bound": in_bound,
        "median_delay_ratio": _finite(ratio), "verdict_right": right, "median_delay": _finite(float(np.median(delays))),
        "caught_in_bound_low": low, "caught_in_bound_high": high,
    }  # fmt: skip
    if right is not None:
        told["verdict_right_low"], told["verdict_right_high"] = of_share(right, n)
    return told


def is_in_bound(kind: str, at_us: int | None, count: int | None, times_us: Ints) -> bool:
    """Hard evidence: within three faulty values or an hour, whichever is later; else by a hundred faulty values."""
    if at_us is None or count is None:
        return False
    enough_us = int(times_us[min(2, len(times_us) - 1)])
    return at_us <= max(enough_us, int(times_us[0]) + HOUR_US) if kind == "hard" else count <= 100


def _finite(value: float | None) -> float | None:
    """As JSON holds it; None of what was never caught in more than half of the cases."""
    return value if value is not None and np.isfinite(value) else None


def of_served(fault: ServedFault, served: ServedYear, start_us: int, rng: np.random.Generator, each: int) -> Drawn:
    """A kind of fault behind the sources."""
    low, high = np.searchsorted(served.known_us, [start_us + FIRST_DAY * DAY_US, start_us + LAST_DAY * DAY_US])
    said: list[int | None] = []
    right, faulty, injections, missed = 0, [], [], defaultdict[str, int](int)
    for _ in range(each):
        at_us = int(served.known_us[int(rng.integers(low, high))])
        struck = strike_at(fault, served, at_us, HORIZON_US, rng)
        if not struck.wrong.any():
            continue
        found = fault.caught(served, struck)
        faulty.append(faulty_us(served, struck))
        said.append(found[0] if found else None)
        right += found is not None and found[1] in fault.verdicts
        midnight = int(np.searchsorted(served.known_us, start_us + (at_us - start_us) // DAY_US * DAY_US))
        before = slice(midnight, struck.rows.start)
        columns = {}
        for name, (values, valid) in struck.columns.items():
            clean = (served.score, ~np.isnan(served.score)) if name == "score" else served.columns[name]
            columns[name] = np.concatenate([clean[0][before], values]), np.concatenate([clean[1][before], valid])
        known = served.known_us[midnight : struck.rows.stop]
        injections.append(Injection(SERVED, at_us, faulty[-1], columns, known))
        if found is None or found[1] not in fault.verdicts:
            missed[f"{', '.join(struck.columns)}: {found[1] if found else 'missed'}"] += 1
    ours = judged(fault.name, "hard", "samestream", said, faulty, [], right, missed)
    return Drawn(fault.name, "hard", ours, injections, faulty, [])


def of_kind(
    fault: Fault, kept: dict[int, SourceFamily], events: dict[str, Rows], lineage: Lineage, start_us: int,
    rng: np.random.Generator, each: int,
) -> Drawn:  # fmt: skip
    """A kind of fault at a source."""
    said_us: list[int | None] = []
    right, faulty, best, injections = 0, [], [], []
    missed = defaultdict[str, int](int)
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
        faulty.append(struck.faulty_us)
        said_us.append(said.at_us if said else None)
        if fault.kind != "hard":
            known_us = alarm_us(fault, fields, clean, struck.rows, at_us, struck.gone)
            best.append(
                np.inf if known_us is None else max(int(np.searchsorted(struck.faulty_us, known_us, side="right")), 1)
            )
        is_right = said is not None and said.verdict in fault.verdicts
        right += is_right
        n = int(np.searchsorted(struck.faulty_us, said.at_us, side="right")) if said else None
        if not is_right or not is_in_bound(fault.kind, said.at_us if said else None, n, struck.faulty_us):
            missed[f"{'.'.join((event, *fields))}: {said.verdict if said else 'missed'} after {n}"] += 1
        rows = struck.rows.between(midnight_us, at_us + HORIZON_US)
        columns = watched_by_peers(rows)
        columns = {name: columns[name] for name in fields} if fields else columns
        injections.append(Injection(event, at_us, struck.faulty_us, columns, rows.known_us))
    ours = judged(fault.name, fault.kind, "samestream", said_us, faulty, best, right, missed)
    return Drawn(fault.name, fault.kind, ours, injections, faulty, best)


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
