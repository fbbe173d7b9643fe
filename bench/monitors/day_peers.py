"""Peers that judge a column day by day: a plain test, thresholds as NannyML has them, Evidently. See `peers`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import speed
from flights_year import DAY_US
from peer_year import DAYS, FROM_DAY, ROWS, Floats, Injection, Job, Year, incidents
from scipy.special import rel_entr
from scipy.stats import chi2


class WindowPeer:
    """A peer that judges days. scores : of jobs, the higher the odder. every : of so many faults it is shown one."""

    every = 1
    days = 4
    """Days of a fault that it looks at."""

    def __init__(self, name: str, year: Year, scores: Callable[[Sequence[Job]], Floats], rows: bool = False) -> None:
        self.name, self._year, self._scores, self._rows = name, year, scores, rows
        self.limit: Any = None

    def tune(self, allowed: int) -> int:
        """Take the least limit that opens no more incidents on the clean year; how many it opens.

        One that is shown fewer faults sees fewer days, too, and is allowed as much less.
        """
        allowed //= self.every
        jobs = list(self._clean())
        scores = np.nan_to_num(self._scores(jobs), nan=-np.inf)
        groups = {group: np.full(DAYS, -np.inf) for group, _ in self._year.streams}
        for job, score in zip(jobs, scores, strict=True):
            groups[job.group][job.day] = max(groups[job.group][job.day], score)

        def opened(limit: float) -> int:
            return incidents({group: days > limit for group, days in groups.items()})

        levels = np.unique(scores[np.isfinite(scores)])
        # from the calmest down: one that always alarms is a single run of days, and no calm one
        low = len(levels) - 1
        while low > 0 and opened(float(levels[low - 1])) <= allowed:
            low -= 1
        self.limit = float(levels[low])
        return opened(self.limit) * self.every

    def close(self) -> None:
        """Nothing of it runs."""

    def caught_us(self, injections: Sequence[Injection]) -> list[int | None]:
        """When each fault was first told, None where it was not."""
        jobs, owner = [], []
        for number, one in enumerate(injections):
            for job in self._struck(one):
                jobs.append(job)
                owner.append(number)
        found: list[int | None] = [None] * len(injections)
        if not jobs:
            return found
        for job, number, score in zip(jobs, owner, self._scores(jobs), strict=True):
            end_us = self._year.start_us + (job.day + 1) * DAY_US
            if score > self.limit and (found[number] is None or end_us < (found[number] or 0)):
                found[number] = end_us
        return found

    def _clean(self) -> Iterator[Job]:
        for (group, name), stream in self._year.streams.items():
            for day in range(FROM_DAY, DAYS, self.every):
                low, high = stream.bounds[day : day + 2]
                yield Job(group, name, day, stream.values[low:high], int(stream.rows_a_day[day]))
        if self._rows:
            firsts = dict(reversed(self._year.streams))
            for group, name in firsts.items():
                for day in range(FROM_DAY, DAYS, self.every):
                    yield Job(group, ROWS, day, np.zeros(0), int(self._year.streams[group, name].rows_a_day[day]))

    def _struck(self, one: Injection) -> Iterator[Job]:
        first = self._year.day(one.at_us)
        for day in range(first, min(first + self.days, DAYS)):
            edges = self._year.start_us + np.array([day, day + 1]) * DAY_US
            low, high = np.searchsorted(one.known_us, edges)
            for name, (values, valid) in one.columns.items():
                numbers, there = self._year.numbers(one.group, name, (values[low:high], valid[low:high]))
                yield Job(one.group, name, day, numbers[there], int(high - low))
            if self._rows:
                yield Job(one.group, ROWS, day, np.zeros(0), int(high - low))


def daily_ks(year: Year) -> WindowPeer:
    """The plain one."""
    sorted_before: dict[tuple[str, str, int], Floats] = {}

    def score(job: Job) -> float:
        stream = year.streams[job.group, job.field]
        reference = stream.before(job.day, 28)
        n, m = len(reference), len(job.values)
        if not n or not m:
            return -np.inf
        if stream.is_text:
            size = int(max(reference.max(), job.values.max())) + 1
            table = np.stack([np.bincount(part.astype(np.int64), minlength=size) for part in (reference, job.values)])
            table = table[:, table.sum(axis=0) > 0].astype(np.float64)
            expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
            statistic = float(((table - expected) ** 2 / expected).sum())
            return float(-chi2.logsf(statistic, max(table.shape[1] - 1, 1)) / np.log(10))
        place = (job.group, job.field, job.day)
        if place not in sorted_before:
            sorted_before[place] = np.sort(reference)
        left, right = sorted_before[place], np.sort(job.values)
        points = np.concatenate([left, right])
        apart = np.abs(np.searchsorted(left, points, "right") / n - np.searchsorted(right, points, "right") / m).max()
        return float(2 * apart * apart * n * m / (n + m) / np.log(10))

    return WindowPeer("daily KS", year, lambda jobs: np.array([score(job) for job in jobs]))


BINS = 40


def nannyml_style(year: Year) -> WindowPeer:
    """Mean and standard deviation of what the reference's own days show."""
    edges, days = {}, {}
    for place, stream in year.streams.items():
        if stream.is_text:
            edges[place] = np.arange(200) - 0.5
        else:
            inner = np.quantile(stream.before(56, 56), np.linspace(0, 1, BINS + 1)[1:-1])
            edges[place] = np.concatenate([[-np.inf], np.unique(inner), [np.inf]])
        days[place] = np.stack(
            [np.histogram(stream.values[slice(*stream.bounds[day : day + 2])], edges[place])[0] for day in range(DAYS)]
        ).astype(np.float64)
    usual: dict[tuple[str, str, int], tuple[Floats, float, float, float, float]] = {}

    def usual_of(job: Job) -> tuple[Floats, float, float, float, float]:
        place = (job.group, job.field, job.day)
        if place not in usual:
            past = days[job.group, job.field][job.day - 56 : job.day]
            pooled = past.sum(axis=0)
            apart = _apart(past, pooled)
            nulls = year.streams[job.group, job.field].null_share[job.day - 56 : job.day]
            usual[place] = (pooled, float(apart.mean()), float(apart.std()), float(nulls.mean()), float(nulls.std()))
        return usual[place]

    def score(job: Job) -> float:
        if job.field == ROWS:
            rows = next(one for (group, _), one in year.streams.items() if group == job.group).rows_a_day
            past = rows[job.day - 56 : job.day]
            return float(abs(job.rows - past.mean()) / max(past.std(), 1e-9))
        pooled, mean, std, nulls, spread = usual_of(job)
        missing = (1 - len(job.values) / job.rows - nulls) / max(spread, 1e-3) if job.rows else -np.inf
        if not len(job.values):
            return float(missing)
        here = np.histogram(job.values, edges[job.group, job.field])[0].astype(np.float64)
        return float(max(missing, (_apart(here[None, :], pooled)[0] - mean) / max(std, 1e-9)))

    return WindowPeer("NannyML-style", year, lambda jobs: np.array([score(job) for job in jobs]), rows=True)


def _apart(counts: Floats, pooled: Floats) -> Floats:
    """Jensen-Shannon distance of each row. counts : shape (rows, bins). pooled : shape (bins,)."""
    p = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    q = pooled / max(pooled.sum(), 1)
    middle = (p + q) / 2
    return np.sqrt(np.maximum((rel_entr(p, middle) + rel_entr(q[None, :], middle)).sum(axis=1) / 2 / np.log(2), 0))


_EVIDENTLY = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import numpy as np, pandas as pd
from evidently.legacy.calculations.stattests.registry import _get_default_stattest
from evidently.legacy.core import ColumnType
year = np.load(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    asked = np.load(line.strip())
    found = []
    for place, text, low, high, start, end in asked["jobs"].tolist():
        reference = pd.Series(year[f"c{place}"][low:high])
        current = pd.Series(asked["values"][start:end])
        kind = ColumnType.Categorical if text else ColumnType.Numerical
        if not len(reference) or not len(current):
            found.append(float("-inf"))
            continue
        try:
            test = _get_default_stattest(reference, current, kind)
            said = test(reference, current, kind, None)
            # a p-value is the odder the smaller it is
            is_p = test.name in ("ks", "chisquare", "z")
            found.append(float(-np.log10(max(said.drift_score, 1e-300)) / 13 if is_p else said.drift_score))
        except Exception as error:
            found.append(float("-inf"))
    np.save(line.strip() + ".out.npy", np.array(found))
    print("done", flush=True)
"""


class Evidently(WindowPeer):
    """Evidently's own tests, in its own environment. One takes a twentieth of a second, so it is shown fewer faults."""

    every, days = 6, 2

    def __init__(self, year: Year, folder: Path) -> None:
        super().__init__("Evidently", year, self.scores)
        self._folder, self._asked = folder, 0
        self._places = {place: number for number, place in enumerate(year.streams)}
        np.savez(folder / "year.npz", **{f"c{number}": year.streams[p].values for p, number in self._places.items()})
        python = speed.ROOT / "build" / "peers" / "evidently" / "bin" / "python"
        self._process = subprocess.Popen(
            [str(python), "-c", _EVIDENTLY, str(folder / "year.npz")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._expect("ready")

    def scores(self, jobs: Sequence[Job]) -> Floats:
        """The drift score of each job."""
        rows, start = [], 0
        for job in jobs:
            stream = self._year.streams[job.group, job.field]
            low, high = stream.bounds[job.day - 28], stream.bounds[job.day]
            place = self._places[job.group, job.field]
            rows.append((place, stream.is_text, low, high, start, start + len(job.values)))
            start += len(job.values)
        self._asked += 1
        path = self._folder / f"{self._asked}.npz"
        np.savez(path, jobs=np.array(rows, np.int64), values=np.concatenate([job.values for job in jobs]))
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        self._expect("done")
        found = np.load(f"{path}.out.npy")
        path.unlink()
        Path(f"{path}.out.npy").unlink()
        return np.asarray(found, np.float64)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if said != word:
            raise RuntimeError(f"Evidently said {said!r} and not {word!r}")
