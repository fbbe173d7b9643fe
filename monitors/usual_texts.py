"""Which texts are usual: those of the last eight weeks of good days, and how often one came that never had."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from samestream.monitors.usual import DAYS_KEPT, GROUPS, PART_WEIGHT

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FIRST_DAYS = 3
"""Days in which everything is new, and being new says nothing."""


@dataclass(frozen=True)
class TextsTable:
    """Log shares, ready for `text_evidence.texts`; immutable.

    usual, by_group : shape (codes,) and (groups, codes), -inf for what was never seen. forms : whether a text of that normal
    form was seen, shape (forms,).
    """

    usual: Floats
    by_group: Floats
    unseen: float
    twin: float
    forms: Bools
    null_share: float
    repeat_share: Floats

    def __deepcopy__(self, memo: object) -> TextsTable:
        return self


@dataclass(frozen=True)
class _Day:
    """What one day held. groups, codes, counts : of texts by part of the day. repeats : of a text, by part of the day.

    new : texts that never came before. twins : how often those came that are a known text but for its spelling.
    """

    groups: Ints
    codes: Ints
    counts: Ints
    repeats: Ints
    nulls: int
    new: int
    twins: int


class UsualTexts:
    """How often each text occurred on good days, by part of the day, and how often one came that never had."""

    def __init__(self) -> None:
        self._days: list[_Day] = []
        self._counts: Ints = np.zeros((GROUPS, 0), np.int64)
        self._ever: Bools = np.zeros(0, np.bool_)
        self._forms: Bools = np.zeros(0, np.bool_)

    def __deepcopy__(self, memo: object) -> UsualTexts:
        """What was learned is never changed in place, so copies share it."""
        twin = copy(self)
        twin._days = list(self._days)
        return twin

    def learn(self, codes: Ints, groups: Ints, forms: Ints, days: int) -> None:
        """Add a good day. codes, groups : of each text, -1 for null; shape (n,). forms : of each code, -1 for none.

        days : learned before it. In the first few what is new says nothing yet, and on the first no spelling does.
        """
        there = codes >= 0
        present = codes[there]
        ever = _longer(self._ever, int(present.max(initial=-1)) + 1)
        seen_forms = _longer(self._forms, int(forms.max(initial=-1)) + 1)
        unknown, came = np.unique(present, return_counts=True)
        unknown, came = unknown[~ever[unknown]], came[~ever[unknown]]
        has_form = forms[unknown] >= 0
        twins = int(came[has_form][seen_forms[forms[unknown][has_form]]].sum()) if days else 0
        pairs, counts = np.unique(np.stack([groups[there], present]), axis=1, return_counts=True)
        more = np.zeros((GROUPS, len(ever) - self._counts.shape[1]), np.int64)
        self._counts = np.concatenate([self._counts, more], axis=1)
        self._counts[pairs[0], pairs[1]] += counts
        ever[present] = True
        of_present = forms[np.unique(present)]
        seen_forms[of_present[of_present >= 0]] = True
        self._ever, self._forms = ever, seen_forms
        repeats = np.bincount(groups[there][1:][present[1:] == present[:-1]], minlength=GROUPS)
        new = 0 if days < FIRST_DAYS else len(unknown)
        self._days.append(_Day(pairs[0], pairs[1], counts, repeats, len(codes) - len(present), new, twins))
        if len(self._days) > DAYS_KEPT:
            oldest = self._days.pop(0)
            self._counts[oldest.groups, oldest.codes] -= oldest.counts

    def table(self) -> TextsTable:
        """Shares as they are believed now."""
        whole = self._counts.sum(axis=0)
        n = float(whole.sum())
        nulls, new, twins = np.sum([(day.nulls, day.new, day.twins) for day in self._days], axis=0)
        # of texts to come as many will be new as came once so far (Good and Turing): there may be many still to come
        new = max(int(new), int(np.count_nonzero(whole == 1)))
        repeats = np.sum([day.repeats for day in self._days], axis=0)
        share = (whole + 0.5) / (n + 0.5 * np.count_nonzero(self._ever) + 1)  # codes are shared with other fields
        parts = self._counts.sum(axis=1, keepdims=True)
        by_group = (self._counts + PART_WEIGHT * share) / (parts + PART_WEIGHT)
        with np.errstate(divide="ignore"):
            usual, in_part = (np.log(np.where(self._ever, part, 0.0)) for part in (share, by_group))
        return TextsTable(
            usual,
            in_part,
            unseen=float(np.log((new + 0.5) / (n + 1))),
            twin=float(np.log((twins + 0.5) / (n + 1))),
            forms=self._forms,
            null_share=float(np.clip((nulls + 0.5) / (n + nulls + 1), 1e-4, 0.9)),
            repeat_share=np.clip((repeats + 0.5) / (parts[:, 0] + 1), 1e-4, 0.96),
        )


def _longer(flags: Bools, size: int) -> Bools:
    """A copy with room for so many."""
    return np.concatenate([flags, np.zeros(max(size - len(flags), 0), np.bool_)])
