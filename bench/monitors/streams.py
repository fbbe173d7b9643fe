"""Part *streams*: detectors of change on error streams, each tuned on other streams to one false alarm in 10,000 errors.

Every detector has a grid of parameters. On tuning streams, made from other seeds, those that alarm more than once in 10,000
errors where nothing changes are struck out. Of the others two are shown: that with the best F1 on changing streams, and the
quickest of those whose F1 is within 0.02 of it, for whoever would rather know sooner. Then everything is frozen, and the
streams that count are made.

A change is found if an alarm comes within 2,000 errors of it, where the stream ends; an alarm before it is false; a change
that is missed counts as a delay of 2,000. After an alarm a detector begins anew. KSWIN, a thousand times slower, is tuned and
shown on fewer streams. A detector that no parameter keeps calm is shown with the last of its grid. The last row is no
competitor: it is told what the others have to find out (`told_rates`), tuned by the same rule, and shows what is there to be had.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import told_rates
from error_streams import ErrorStream, calm, changing
from river import drift

from samestream.monitors.error_change import ErrorChange

WITHIN = 2_000
PER_ERRORS = 10_000
TUNING_SEED, SEED = 100_000, 1
FEW = 6
"""Streams that a detector is tuned on which takes a thousandth of a second an error; it is shown on twice as many."""


@dataclass(frozen=True)
class Detector:
    """A detector as the bench sees it: the places of its alarms on a stream, by parameter."""

    name: str
    grid: Sequence[Any]
    alarms: Callable[[Any, ErrorStream], list[int]]
    costly: bool = False


def _ours(limit: float, stream: ErrorStream) -> list[int]:
    found, begun, detector = [], 0, ErrorChange(binary=True)
    while (place := detector.first_above(stream.errors[begun:], limit)) is not None:
        found.append(begun + place)
        begun += place + 1
        detector.reset()
    return found


def _river(make: Callable[[Any], Any]) -> Callable[[Any, ErrorStream], list[int]]:
    def alarms(parameter: Any, stream: ErrorStream) -> list[int]:
        found, detector = [], make(parameter)
        for place, error in enumerate(stream.errors.tolist()):
            detector.update(error)
            if detector.drift_detected:
                found.append(place)
                detector = make(parameter)
        return found

    return alarms


DETECTORS = (
    Detector("samestream", np.arange(4.0, 12.25, 0.25).tolist(), _ours),
    Detector(
        "ADWIN",
        [(delta, clock) for delta in (0.5, 0.2, 0.1, 0.05, 0.02, 2e-3, 2e-4) for clock in (1, 32)],
        _river(lambda p: drift.ADWIN(delta=p[0], clock=p[1])),
    ),
    Detector(
        "PageHinkley",
        [(threshold, delta) for threshold in (5, 10, 15, 20, 30, 50, 100) for delta in (0.005, 0.02, 0.05, 0.1)],
        _river(lambda p: drift.PageHinkley(threshold=p[0], delta=p[1], mode="up")),
    ),
    Detector(
        "DDM",
        [(warm, level) for warm in (30, 200) for level in (2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0)],
        _river(lambda p: drift.binary.DDM(warm_start=p[0], drift_threshold=p[1])),
    ),
    Detector(
        "KSWIN",
        [(alpha, 300, 100) for alpha in (1e-5, 1e-7)],
        _river(lambda p: drift.KSWIN(alpha=p[0], window_size=p[1], stat_size=p[2], seed=1)),
        costly=True,
    ),
    Detector("always fires", (None,), lambda _, stream: list(range(len(stream.errors)))),
    Detector("told both rates (no competitor)", np.arange(8.0, 15.25, 0.5).tolist(), told_rates.alarms),
)


def _scored(streams: Sequence[ErrorStream], alarms: Sequence[list[int]]) -> dict[str, float]:
    hits = misses = false = 0
    delays = []
    for stream, found in zip(streams, alarms, strict=True):
        at = stream.changes_at
        good = [place for place in found if at is not None and at <= place < at + WITHIN]
        false += len(found) - len(good)
        if at is not None:
            hits += bool(good)
            misses += not good
            delays.append(good[0] - at if good else WITHIN)
    return {
        "f1": 2 * hits / (2 * hits + false + misses),
        "median_delay": float(np.median(delays)) if delays else float("nan"),
        "mean_delay": float(np.mean(delays)) if delays else float("nan"),
        "found": hits,
        "missed": misses,
        "false": false,
    }


BEST, QUICK = "best F1", "quickest within 0.02 of it"


def _tuned(
    detector: Detector, quiet: Sequence[ErrorStream], moving: Sequence[ErrorStream]
) -> dict[str, tuple[Any, float]]:
    """The parameters that are shown, each with its false alarms per 10,000 errors on the calm tuning streams."""
    errors = sum(len(stream.errors) for stream in quiet)
    tried = []
    for parameter in detector.grid:
        alarms = sum(len(detector.alarms(parameter, stream)) for stream in quiet)
        rate = alarms * PER_ERRORS / errors
        if rate <= 1:
            scored = _scored(moving, [detector.alarms(parameter, stream) for stream in moving])
            tried.append((scored["f1"], -scored["median_delay"], rate, parameter))
        elif not tried and parameter is detector.grid[-1]:
            tried.append((0.0, 0.0, rate, parameter))
    best = max(tried, key=lambda one: one[:2])
    quick = max((one for one in tried if one[0] >= best[0] - 0.02), key=lambda one: one[1])
    return {BEST: (best[3], best[2]), QUICK: (quick[3], quick[2])}


def _shown(
    detector: Detector, parameter: Any, streams: Sequence[ErrorStream], still: Sequence[ErrorStream]
) -> list[dict[str, Any]]:
    """A row for all streams, and for each kind of change."""
    step = max(1, len(streams) // (2 * FEW)) if detector.costly else 1
    mine, quiet = streams[::step], still[::step]
    started = time.process_time()
    alarms = [detector.alarms(parameter, stream) for stream in mine]
    spent = time.process_time() - started
    errors = sum(len(stream.errors) for stream in quiet)
    rate = sum(len(detector.alarms(parameter, stream)) for stream in quiet) * PER_ERRORS / errors
    out = []
    for kind in ("all", *dict.fromkeys(stream.kind for stream in mine)):
        places = [number for number, stream in enumerate(mine) if kind in ("all", stream.kind)]
        scored = _scored([mine[place] for place in places], [alarms[place] for place in places])
        out.append(
            {
                "detector": detector.name,
                "drift": kind,
                "streams": len(places),
                "parameter": str(parameter),
                "false_per_10000_calm": round(rate, 3),
                "us_per_error": round(spent * 1e6 / sum(len(stream.errors) for stream in mine), 2),
                **{name: round(value, 3) for name, value in scored.items()},
            }
        )
    return out


def rows(quick: bool) -> dict[str, list[dict[str, Any]]]:
    tuning, counted = (1, 1) if quick else (4, 8)
    quiet = [stream for seed in range(tuning) for stream in calm(TUNING_SEED + seed)]
    moving = [stream for seed in range(tuning) for stream in changing(TUNING_SEED + 500 + seed)]
    chosen: dict[str, dict[str, tuple[Any, float]]] = {}
    for detector in DETECTORS:
        if detector.costly and quick:
            continue
        started = time.process_time()
        # one that takes a thousandth of a second an error is tuned on the first of the streams
        few = FEW if detector.costly else max(len(quiet), len(moving))
        chosen[detector.name] = _tuned(detector, quiet[:few], moving[:few])
        parameters = ", ".join(f"{parameter}: {point}" for point, (parameter, _) in chosen[detector.name].items())
        print(f"{detector.name:<31} {parameters}; tuned in {time.process_time() - started:.0f} s", flush=True)
    streams = [stream for seed in range(counted) for stream in changing(SEED + seed)]
    still = [stream for seed in range(counted) for stream in calm(SEED + 200 + seed)]
    out = []
    for point in (BEST, QUICK):
        print(f"-- {point}", flush=True)
        for detector in DETECTORS:
            if detector.name not in chosen:
                continue
            parameter, rate = chosen[detector.name][point]
            found = _shown(detector, parameter, streams, still)
            out += [{"point": point, "false_per_10000_tuning": round(rate, 3), **row} for row in found]
            best = found[0]
            print(
                f"{best['detector']:<31} F1 {best['f1']:.3f}  median delay {best['median_delay']:>6.0f}  "
                f"found {best['found']}/{best['streams']}  false {best['false']}  "
                f"calm {best['false_per_10000_calm']:.2f}/10,000  {best['us_per_error']:.1f} us an error",
                flush=True,
            )
    return {"streams": out}
