"""Where in the rows a move sits: which part of the day, which text of another input, which key; and rows that show it.

Nothing is kept but samples: at most `SAMPLE` rows of the window that moved, and as many of the calm ones of the last four
weeks, each spread evenly. So what is told here costs the same however busy the stream is, and says where to look, no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.diagnosis import instant
from samestream.monitors.incidents import DAY_US

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Column = npt.NDArray[Any]

SAMPLE = 8192
CALM_US = 28 * DAY_US
LEAST_ROWS, LEAST_IN_SLICE = 200, 30
FEW = 24
"""An input with more different numbers than these does not make slices."""
MOST_SLICES = 16
CLEARLY = 0.1
"""A slice is told of if it holds so much more of the move than of the rows, and more than chance would give it."""
RARELY = 0.00135
"""The chance of three standard deviations."""
TOLD_SLICES, TOLD_ROWS = 3, 5
PARTS = 8
"""Of a day, in UTC."""
KEY_BYTES = 64
"""Longer keys are cut, and end in dots."""
GROUPS = 16
OTHER = "(other)"
NULL = "(null)"


def keys_of(entities: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.bytes_]:
    """Keys as bytes of one width, which take little memory; shape (n,). entities : texts or whole numbers."""
    texts = [str(entity).encode() for entity in entities]
    return np.array([text if len(text) <= KEY_BYTES else text[: KEY_BYTES - 3] + b"..." for text in texts], np.bytes_)


def no_keys(rows: int) -> npt.NDArray[np.bytes_]:
    """Stands for the keys of rows of which none are known."""
    return np.zeros(rows, "S1")


@dataclass(frozen=True, eq=False)
class SampledRows:
    """Rows of a window, spread evenly over it; never changed, so copies share them.

    known_us, keys : shape (n,). columns : name -> (values, valid), shape (n,) each. of_rows : how many they were taken from.
    """

    known_us: Ints
    keys: npt.NDArray[np.bytes_]
    columns: Mapping[str, tuple[Column, Bools]]
    of_rows: int

    def __deepcopy__(self, memo: object) -> SampledRows:
        return self

    def __len__(self) -> int:
        return len(self.known_us)

    @classmethod
    def of(cls, known_us: Ints, keys: Column, columns: Mapping[str, tuple[Column, Bools]]) -> SampledRows:
        """A sample of at most `SAMPLE` rows; which they are follows from how many there are."""
        return cls(known_us, keys, columns, len(known_us)).thinned(SAMPLE)

    def thinned(self, most: int) -> SampledRows:
        """At most so many of these rows, in arrays of their own."""
        places = np.arange(len(self)) if len(self) <= most else np.arange(most) * len(self) // most
        return self.taken(places)

    def taken(self, places: Ints) -> SampledRows:
        """These of the rows, shape (m,)."""
        columns = {name: (values[places], valid[places]) for name, (values, valid) in self.columns.items()}
        return SampledRows(self.known_us[places], self.keys[places], columns, self.of_rows)

    @property
    def parts(self) -> Ints:
        """The part of the day (UTC) of each row, shape (n,)."""
        return self.known_us % DAY_US * PARTS // DAY_US


class CalmRows:
    """Samples of the calm windows of the last four weeks, `SAMPLE` rows of them at most. window_us : length of a window."""

    def __init__(self, window_us: int) -> None:
        self._each = min(max(SAMPLE * window_us // CALM_US, 8), SAMPLE)
        self._kept: list[tuple[SampledRows, frozenset[str]]] = []

    def add(self, rows: SampledRows, restless: frozenset[str]) -> None:
        """Remember rows of a window. restless : names of columns that were not calm in it."""
        self._kept.append((rows.thinned(self._each), restless))
        del self._kept[: -max(SAMPLE // self._each, 1)]

    def of(self, name: str) -> SampledRows | None:
        """The rows of windows in which a column was calm; None where there are none."""
        found = [rows for rows, restless in self._kept if name not in restless]
        if not found:
            return None
        columns = {
            column: (
                np.concatenate([rows.columns[column][0] for rows in found]),
                np.concatenate([rows.columns[column][1] for rows in found]),
            )
            for column in found[0].columns
        }
        return SampledRows(
            np.concatenate([rows.known_us for rows in found]),
            np.concatenate([rows.keys for rows in found]),
            columns,
            sum(rows.of_rows for rows in found),
        )


def where_it_sits(name: str, before: SampledRows | None, after: SampledRows) -> dict[str, Any]:
    """The slices in which a column moved more than elsewhere, and rows that show the move.

    A move is the sum over bins (sixteenths of the values before, or the commonest texts; and null) of how their shares of all
    rows changed. Each row lies in one bin and one slice of each kind, so the shares of the slices in it sum to 1: a slice with
    a tenth of the rows and most of the move is where to look, one with a tenth of both is not. Where rows before and after
    are of other parts of the day (windows of an hour), the same parts are compared.

    before : calm rows, see `CalmRows`.
    Returns nothing where there are too few rows on a side.
    """
    whole_day = len(np.unique(after.parts)) >= PARTS - 2
    if before is not None and not whole_day:
        before = before.taken(np.flatnonzero(np.isin(before.parts, after.parts)))
    if before is None or min(len(before), len(after)) < LEAST_ROWS:
        return {}
    bins = _bins_of(before.columns[name], after.columns[name])
    shares = [np.bincount(side, minlength=bins[2]) / len(side) for side in bins[:2]]
    change = shares[1] - shares[0]
    size = float(np.abs(change).sum())
    found: list[tuple[float, dict[str, Any]]] = []
    looked_at = []
    for by, names, (codes, later_codes) in _slicings(name, before, after, whole_day):
        looked_at.append(by)
        joint = [
            np.bincount(code * bins[2] + bin_of, minlength=len(names) * bins[2]).reshape(len(names), bins[2])
            for code, bin_of in ((codes, bins[0]), (later_codes, bins[1]))
        ]
        rows = [side.sum(axis=1) for side in joint]
        moved = (joint[1] / len(after) - joint[0] / len(before)) @ np.sign(change) / max(size, 1e-12)
        held = rows[0] / len(before)
        chance = np.sqrt(np.maximum(held, 1 / len(after)) * (1 / len(before) + 1 / len(after))) / max(size, 1e-12)
        clear = (moved - held > np.maximum(CLEARLY, 3 * chance)) & (np.maximum(*rows) >= LEAST_IN_SLICE)
        for place in np.flatnonzero(clear).tolist():
            told = {
                "by": by,
                "is": names[place],
                "rows_before": round(float(held[place]), 4),
                "rows_after": round(float(rows[1][place]) / len(after), 4),
                "share_of_move": round(float(moved[place]), 4),
                "before": _middle(before.columns[name], codes == place),
                "after": _middle(after.columns[name], later_codes == place),
            }
            found.append((float(moved[place] - held[place]), told))
    found.sort(key=lambda one: (-one[0], one[1]["by"], one[1]["is"]))
    return {
        "slices": [told for _, told in found[:TOLD_SLICES]],
        "slices_by": looked_at,
        "slices_rows": [len(before), len(after)],
        "examples": _examples(name, after, _shown(after.columns[name][0], bins[1], int(change.argmax()), bins[2])),
    }


def where_marked(
    rows: SampledRows, marked: Bools, before: tuple[SampledRows, Bools] | None = None, but: str = ""
) -> dict[str, Any]:
    """The slices that hold more of the marked rows than of all, by a tenth and by more than three standard deviations of chance.

    Of few rows a binomial says what chance would give. marked : shape (n,).
    before : rows of before and which of them were marked; then of a slice in which more were, more are expected.
    but : a column that makes no slices.
    """
    count = int(np.count_nonzero(marked))
    whole_day = len(np.unique(rows.parts)) >= PARTS - 2
    found: list[tuple[float, dict[str, Any]]] = []
    looked_at = []
    for by, names, (earlier, codes) in _slicings(but, rows if before is None else before[0], rows, whole_day):
        looked_at.append(by)
        of_rows, of_marked = (np.bincount(part, minlength=len(names)) for part in (codes, codes[marked]))
        due = of_rows / len(rows)
        if before is not None:
            of_rows_before, of_marked_before = (
                np.bincount(part, minlength=len(names)) for part in (earlier, earlier[before[1]])
            )
            usual = (np.count_nonzero(before[1]) + 1) / (len(before[0]) + 1)
            due = due * (of_marked_before + LEAST_IN_SLICE * usual) / (of_rows_before + LEAST_IN_SLICE)
            due /= due.sum()
        held = of_marked / max(count, 1)
        for place in np.flatnonzero(held - due > CLEARLY).tolist():
            if _chance(int(of_marked[place]), count, float(due[place])) >= RARELY:
                continue
            told = {"by": by, "is": names[place], "rows": int(of_rows[place]), "faulty": int(of_marked[place])}
            told |= {"share_of_rows": round(of_rows[place] / len(rows), 4), "share_of_faulty": round(held[place], 4)}
            found.append((float(held[place] - due[place]), told))
    found.sort(key=lambda one: (-one[0], one[1]["by"], one[1]["is"]))
    return {"slices": [told for _, told in found[:TOLD_SLICES]], "slices_by": looked_at, "slices_rows": len(rows)}


def _chance(hits: int, of: int, share: float) -> float:
    """The chance of so many hits or more, if each is one with a chance of `share`: a binomial tail. share : below 1."""
    if share <= 0:
        return 0.0
    every, odds = math.lgamma(of + 1), math.log(share / (1 - share))
    at_none = every + of * math.log1p(-share)
    return sum(math.exp(at_none + k * odds - math.lgamma(k + 1) - math.lgamma(of - k + 1)) for k in range(hits, of + 1))


def _shown(values: Column, bins: Ints, grown: int, count: int) -> Bools:
    """The rows of the bin that grew most; of the outermost bins of numbers, which have no end, the outer half."""
    chosen = bins == grown
    if values.dtype != object and chosen.any() and grown in (0, count - 2):
        middle = np.median(values[chosen])
        chosen &= values <= middle if grown == 0 else values >= middle
    return np.asarray(chosen, np.bool_)


def _examples(name: str, rows: SampledRows, chosen: Bools) -> list[dict[str, Any]]:
    """The latest rows of different keys that lie where there is more than before."""
    values, valid = rows.columns[name]
    told: dict[Any, dict[str, Any]] = {}
    for place in np.flatnonzero(chosen)[::-1].tolist():
        key = bytes(rows.keys[place]).decode("utf-8", "replace")
        if (key or place) not in told:
            value = None if not valid[place] else short(values[place])
            told[key or place] = {"at": instant(int(rows.known_us[place])), "value": value} | (
                {"key": key} if key else {}
            )
        if len(told) == TOLD_ROWS:
            break
    return list(told.values())


def _bins_of(before: tuple[Column, Bools], after: tuple[Column, Bools]) -> tuple[Ints, Ints, int]:
    """The bin of each row on both sides, and how many bins there are; the last one is of nulls."""
    if before[0].dtype == object:
        places, names = _texts(before, after)
        return places[0], places[1], len(names)
    present = [valid & np.isfinite(values.astype(np.float64)) for values, valid in (before, after)]
    inside = before[0][present[0]]
    cuts = np.unique(np.quantile(inside, np.arange(1, GROUPS) / GROUPS)) if len(inside) else np.zeros(0)
    sides = [
        # of a value that is a cut: with those above it, and apart from those below
        np.where(there, np.searchsorted(cuts, np.where(there, values, 0.0), side="right"), len(cuts) + 1)
        for (values, _), there in zip((before, after), present, strict=True)
    ]
    return sides[0], sides[1], len(cuts) + 2


def _texts(*sides: tuple[Column, Bools]) -> tuple[list[Ints], list[str]]:
    """Numbers for the commonest values of the sides together, for all others, and for null; and what each is called."""
    counts: dict[Any, float] = {}
    for values, valid in sides:
        found, often = np.unique(values[valid], return_counts=True)
        for value, count in zip(found.tolist(), (often / max(len(values), 1)).tolist(), strict=True):
            counts[value] = counts.get(value, 0.0) + count
    common = sorted(counts, key=lambda value: (-counts[value], value))[:MOST_SLICES]
    numbers = {value: place for place, value in enumerate(common)}
    places = [
        np.where(valid, [numbers.get(value, len(common)) for value in values.tolist()], len(common) + 1).astype(
            np.int64
        )
        for values, valid in sides
    ]
    return places, [*(f"{value:g}" if isinstance(value, float) else short(value) for value in common), OTHER, NULL]


def _slicings(
    name: str, before: SampledRows, after: SampledRows, whole_day: bool
) -> Iterator[tuple[str, list[str], tuple[Ints, Ints]]]:
    """What rows are cut by: its name, the names of the slices, and the slice of each row on both sides."""
    if whole_day:
        hours = 24 // PARTS
        names = [f"{part * hours:02}:00-{(part + 1) * hours % 24:02}:00 UTC" for part in range(PARTS)]
        yield "part of the day", names, (before.parts, after.parts)
    for other, (values, valid) in before.columns.items():
        later = after.columns[other]
        if other == name:
            continue
        if values.dtype != object:
            seen = np.unique(np.concatenate([values[valid], later[0][later[1]]]))
            if not 2 <= len(seen) <= FEW or not np.isfinite(seen).all():
                continue
        places, names = _texts((values, valid), later)
        yield other, names, (places[0], places[1])
    if len(np.unique(after.keys)) <= len(after) // 4 and after.keys.any():
        sides = [(rows.keys.astype(object), np.ones(len(rows), np.bool_)) for rows in (before, after)]
        places, names = _texts(*sides)
        yield "key", names, (places[0], places[1])


def _middle(column: tuple[Column, Bools], chosen: Bools) -> Any:
    """The median of numbers, the commonest of texts; None of none."""
    values = column[0][chosen & column[1]]
    if not len(values):
        return None
    if values.dtype != object:
        return short(np.median(values))
    found, often = np.unique(values, return_counts=True)
    return short(found[int(often.argmax())])


def short(value: Any) -> Any:
    """A value as evidence tells it: six digits, or 64 characters."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value if len(value) <= 64 else value[:61] + "..."
    number = float(value)
    return float(f"{number:.6g}") if np.isfinite(number) else str(number)
