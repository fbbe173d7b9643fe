"""What is usual: the numbers and the traffic of the last eight weeks of good days, as shares that evidence is weighed by."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from samestream.monitors.cells import BUCKETS, CELLS, cells_of, moves_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DAYS_KEPT = 56
GROUPS, HOURS_A_GROUP = 8, 3
"""Parts of the day (UTC) whose values are learned apart."""
NEIGHBOURS, NEIGHBOUR_WEIGHT = 4, 5.0
"""A cell is believed to resemble those around it: so many buckets either way, with the weight of so many values."""
STEP_NEIGHBOURS = 8
STAY_WEIGHT = 10.0
"""Values by which each is taken to repeat itself as often as all do."""
CLEARLY = 0.4
"""Values without keys are judged by steps if these are so much shorter than the way to a value half a day off."""
SHIFTED = 0.25
"""Share of a part of the day that looks like the one before it, and like the one after: clocks are changed."""
UNSEEN_WEIGHT = 0.02
"""Values that each cell is taken to have held before anything was seen."""
RECENT_DAYS, RECENT_SHARE = 3, 0.4
"""The last days count for so much of the whole: a season moves, and weather lasts."""
RARE = 0.05
"""Share below which a value is rare: that two keys say it in a row is seldom chance."""
ODD = math.log(0.01)
"""A value that is this likely anyway is no sentinel, if there is more of it than usual: that is weather, or a calm day."""
PART_WEIGHT = 30.0
"""Values by which a part of the day is taken to resemble the whole day."""
WEEK_DAYS, SLOTS = 7, 96
"""Traffic is learned by quarters of an hour: an hour's end may be as busy as its beginning, or empty."""
SPREADS, SPREAD_WEIGHT = (0.5, 4.0), 10.0
"""Least and greatest variance of traffic by its mean, and the events by which it is taken to be 1."""


@dataclass(frozen=True)
class NumbersTable:
    """Shares, ready for `number_evidence.numbers`, which says what they are; immutable.

    by_step : a value is better known from the one before it than from the history. values : how many were learned.
    """

    usual: Floats
    rarity: Floats
    moves: Floats
    stays: Floats
    repeats: Floats
    seldom: Floats
    shares: Floats
    by_step: bool
    values: int

    def __deepcopy__(self, memo: object) -> NumbersTable:
        return self

    def but(self, cells: Ints, before: NumbersTable) -> NumbersTable:
        """The same, with some cells no more usual than they were before."""
        usual = self.usual.copy()
        usual[:, cells] = np.minimum(usual[:, cells], before.usual[:, cells])
        return replace(self, usual=usual)


@dataclass(frozen=True)
class _Day:
    """What one day held. places, counts : cells by part of the day. steps, step_counts : buckets of differences.

    kept, kept_counts : cells of values that were followed by themselves.
    tallies : nulls, repeats, pairs of one key; values after which another came, but zeros, and zeros after them;
    zeros; values of a key after a rare one of another key that is not its own last, and those that equal it: shape (8,).
    pairs : values after which another of their key came, and those that it equalled, by part of the day, shape (2, groups).
    distances : summed steps, summed ways to a value half a day off, and how many of those would equal it by chance; shape (3,).
    """

    places: Ints
    counts: Ints
    steps: Ints
    step_counts: Ints
    kept: Ints
    kept_counts: Ints
    tallies: Ints
    pairs: Ints
    distances: Floats


class UsualNumbers:
    """Histograms of good days, by part of the day, and of the differences of values of one key.

    groups : 1 to learn the whole day as one.
    """

    def __init__(self, groups: int = GROUPS) -> None:
        self._groups = groups
        self._keyed = False
        self._days: list[_Day] = []
        self.counts: Ints = np.zeros(groups * CELLS, np.int64)

    def __deepcopy__(self, memo: object) -> UsualNumbers:
        """What was learned is never changed in place, so copies share it."""
        twin = copy(self)
        twin._days = list(self._days)
        return twin

    def learn(self, values: Floats, groups: Ints, slots: Ints, nulls: int, keyed: bool = False) -> None:
        """Add a good day. values : finite, in the order in which they came; groups, slots : of each; shape (n,).

        keyed : the same keys come again and again.
        """
        self._keyed = keyed
        places, counts = np.unique(groups * CELLS + cells_of(values), return_counts=True)
        order = np.argsort(slots, kind="stable")
        same = slots[order][1:] == slots[order][:-1]
        earlier, later = values[order][:-1][same], values[order][1:][same]
        steps, step_counts = np.unique(moves_of(later, earlier), return_counts=True)
        repeated = later == earlier
        parts = groups[order][1:][same]
        paired = [np.bincount(part, minlength=self._groups) for part in (parts, parts[repeated])]
        kept, kept_counts = np.unique(cells_of(later[repeated]), return_counts=True)
        other = earlier != 0
        tallies = [nulls, np.count_nonzero(repeated), len(later)]
        tallies += [np.count_nonzero(other), np.count_nonzero(other & (later == 0))]
        tallies += [np.count_nonzero(values == 0)]
        own = np.full(len(values), np.nan)  # the last value of the same key
        own[order[1:][same]] = earlier
        said, heard = values[1:], values[:-1]
        so_far = self.counts.reshape(self._groups, CELLS).sum(axis=0)
        likely = so_far[cells_of(heard)] / max(int(so_far.sum()), 1)
        news = (slots[1:] != slots[:-1]) & np.isfinite(own[1:]) & (heard != own[1:]) & (likely < RARE)
        tallies += [np.count_nonzero(news), np.count_nonzero(news & (said == heard))]
        far = np.abs(values - np.roll(values, len(values) // 2)).sum()
        distances = np.array(
            [np.abs(later - earlier).sum(), far * len(later) / max(len(values), 1), likely[news].sum()]
        )
        self._days.append(
            _Day(
                places, counts, steps, step_counts, kept, kept_counts, np.array(tallies, np.int64), np.array(paired), distances
            )
        )  # fmt: skip
        self.counts = self.counts.copy()
        self.counts[places] += counts
        if len(self._days) > DAYS_KEPT:
            oldest = self._days.pop(0)
            self.counts[oldest.places] -= oldest.counts

    def table(self) -> NumbersTable:
        """Shares as they are believed now."""
        by_group = self.counts.reshape(self._groups, CELLS).astype(np.float64)
        recent = np.zeros(self._groups * CELLS)
        for day in self._days[-RECENT_DAYS:]:
            recent[day.places] += day.counts
        n = float(by_group.sum())
        if recent.any():  # weighted so that n stays what it was
            by_group = (1 - RECENT_SHARE) * by_group + RECENT_SHARE * n / recent.sum() * recent.reshape(by_group.shape)
        if self._groups > 1:
            before, after = np.roll(by_group, 1, axis=0), np.roll(by_group, -1, axis=0)
            by_group = (1 - 2 * SHIFTED) * by_group + SHIFTED * (before + after)
        all_day = by_group.sum(axis=0)
        around = _smoothed(all_day)
        weight = NEIGHBOUR_WEIGHT if n else 0.0
        share = (all_day + weight * around / max(n, 1) + UNSEEN_WEIGHT) / (n + weight + UNSEEN_WEIGHT * CELLS)
        parts = by_group.sum(axis=1, keepdims=True).astype(np.float64)
        usual = np.log((by_group + PART_WEIGHT * share) / (parts + PART_WEIGHT))
        order = np.argsort(share, kind="stable")
        ranked = share[order]
        upto = np.cumsum(ranked)[np.searchsorted(ranked, ranked, side="right") - 1]
        rarity = np.empty(CELLS)
        rarity[order] = np.log(np.minimum(upto, 1.0))
        whole = self.counts.reshape(self._groups, CELLS).sum(axis=0)
        new = (np.count_nonzero(whole == 1) + 1) / (n + 1)  # of values to come, so many will be new (Good and Turing)
        rarity[whole == 0] = np.minimum(rarity[whole == 0], math.log(new))
        nulls, repeats, pairs, others, other_zero, zeros, news, echoed = np.sum(
            [day.tallies for day in self._days], axis=0
        )
        hits = np.array([nulls, repeats, other_zero]) + 0.5
        shares = np.clip(hits / (np.array([n + nulls, pairs, others]) + 1), 1e-4, [0.9, 0.96, 0.999])
        step, apart, by_luck = np.sum([day.distances for day in self._days], axis=0)
        echo = (echoed - by_luck) / max(news - by_luck, 1)
        odd = float((parts * np.exp(usual) * (usual < ODD)).sum() / max(n, 1))
        shares = np.append(shares, [zeros / max(n, 1), min(max(echo, 1e-4), 0.9), odd])
        kept = np.zeros(CELLS)
        for day in self._days:
            kept[day.kept] += day.kept_counts
        stays = np.log(np.minimum((kept + STAY_WEIGHT * shares[1]) / (whole + STAY_WEIGHT), 0.99))
        of_part, repeated = np.sum([day.pairs for day in self._days], axis=0)
        repeats = np.minimum((repeated + 0.5 + PART_WEIGHT * shares[1]) / (of_part + 1 + PART_WEIGHT), 0.96)
        by_chance = (np.exp(usual) ** 2).sum(axis=1)
        seldom = np.minimum(np.log(repeats / by_chance), 0.0)
        steps = np.zeros(BUCKETS)
        for day in self._days:
            steps[day.steps] += day.step_counts
        by_step = self._keyed or bool(step < CLEARLY * apart)
        return NumbersTable(
            usual, rarity, _moves(steps), stays, np.log(repeats), seldom, shares, by_step, values=int(n)
        )

    def buckets(self) -> Ints:
        """Counts by bucket, as profiles count them, shape (BUCKETS,)."""
        return np.asarray(self.counts.reshape(self._groups, 2, BUCKETS).sum(axis=(0, 1)))


def _moves(steps: Floats) -> Floats:
    """Log shares of differences. steps : counts, shape (BUCKETS,)."""
    n = float(steps.sum())
    around = np.convolve(steps, np.full(2 * STEP_NEIGHBOURS + 1, 1 / (2 * STEP_NEIGHBOURS + 1)), mode="same")
    weight = 0.1 * n  # differences are finer than buckets: those around tell almost as much
    found = (steps + weight * around / max(n, 1) + UNSEEN_WEIGHT) / (n + weight + UNSEEN_WEIGHT * BUCKETS)
    return np.asarray(np.log(found))


def _smoothed(counts: Floats) -> Floats:
    """The mean of the cells around each, fractions and whole numbers apart."""
    width = 2 * NEIGHBOURS + 1
    sides = [np.convolve(side, np.full(width, 1 / width), mode="same") for side in counts.reshape(2, BUCKETS)]
    return np.concatenate(sides)


@dataclass(frozen=True)
class TrafficTable:
    """What traffic is to be expected; immutable.

    expected : events of each slot of the local day, by weekday, shape (7, SLOTS). worth : nats that it tells against a slot of
    the day that one expected event did not come, shape (SLOTS,).
    """

    expected: Floats
    worth: Floats

    def __deepcopy__(self, memo: object) -> TrafficTable:
        return self


class UsualTraffic:
    """How many events came in each quarter of an hour of the week on good days, and how far fewer than was expected.

    Of independent events none comes, where m are expected, with a chance of ``exp(-m)``: each is worth one nat. Timetables are
    more regular than that, and nights less. Where the variance is F times the mean, whether binomial or negative binomial, the
    chance is ``exp(-m log(F) / (F - 1))``. F is measured by what was expected of each day before it came, and by its lower
    half alone: that more came than was thought says nothing of silence.
    """

    def __init__(self) -> None:
        self._days: list[tuple[int, Floats]] = []
        self._errors: list[tuple[Floats, Floats]] = []  # squares of what was wanting, twice, and what was expected

    def learn(self, weekday: int, counted: Ints) -> None:
        """Add a good day. weekday : 0 to 6. counted : events of each slot, shape (SLOTS,)."""
        if len(self._days) >= WEEK_DAYS:
            expected = self._expected()[weekday]
            self._errors.append((2 * np.minimum(counted - expected, 0.0) ** 2, expected))
            del self._errors[:-DAYS_KEPT]
        self._days.append((weekday, counted.astype(np.float64)))
        del self._days[:-DAYS_KEPT]

    def table(self) -> TrafficTable:
        """What is believed now."""
        wanting, expected = np.sum(self._errors, axis=0) if self._errors else np.zeros((2, SLOTS))
        spread = np.clip((wanting + SPREAD_WEIGHT) / (expected + SPREAD_WEIGHT), *SPREADS)
        apart = np.where(spread == 1.0, 2.0, spread)  # the limit at 1 is 1
        return TrafficTable(self._expected(), np.where(spread == 1.0, 1.0, np.log(apart) / (apart - 1)))

    def _expected(self) -> Floats:
        if not self._days:
            return np.zeros((WEEK_DAYS, SLOTS))
        mean = np.mean([counted for _, counted in self._days], axis=0)
        expected = np.empty((WEEK_DAYS, SLOTS))
        for weekday in range(WEEK_DAYS):
            same = [counted for day, counted in self._days if day == weekday]
            expected[weekday] = (np.sum(same, axis=0) + mean) / (len(same) + 1) if same else mean
        return expected
