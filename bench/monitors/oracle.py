"""The oracle: a detector that is told which fault may come, where, and how it changes the values; only not when.

It is Page's CUSUM of the log-likelihood ratio over the exact values, against the same eight weeks of history. Its limit is the
least that opens no more than one alarm a week on that history, and not less than the textbook's for one a week (the logarithm
of a week's events: Lorden, 1971). It may spend the whole budget on this one fault in this one field.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from flights_year import DAY_US, HOUR_US, Rows
from kinds import UNIT_OF, Fault

Floats = npt.NDArray[np.float64]
HISTORY_DAYS = 56


class Shares:
    """Exact values of the history and how common each is, with half a value for each and for all never seen."""

    def __init__(self, values: npt.NDArray) -> None:
        self.values, counts = np.unique(values, return_counts=True)
        n = counts.sum() + 0.5 * (len(counts) + 1)
        self._log = np.log((counts + 0.5) / n)
        self._unseen = float(np.log(0.5 / n))

    def log(self, values: npt.NDArray) -> Floats:
        at = np.minimum(np.searchsorted(self.values, values), len(self.values) - 1)
        return np.where(self.values[at] == values, self._log[at], self._unseen)


def evidence(fault: Fault, fields: tuple[str, ...], history: Rows, rows: Rows, gone: int) -> Floats:
    """Nats that each row says for the fault."""
    if fault.name == "dropped partition":
        share = float(np.mean(history.partitions == gone))
        return np.where(rows.partitions == gone, -50.0, -np.log1p(-share))
    name = fields[0]
    values, valid = rows.fields[name]
    if values.dtype == object:
        values = np.array([str(text) for text in values])
        past = np.array([str(text) for text in history.fields[name][0]])
    else:
        past = history.fields[name][0][history.fields[name][1]]
    usual = Shares(past)
    here = usual.log(values)
    if fault.name == "unit error":
        scale, offset = UNIT_OF[name]
        original = (values - offset) / scale
        if name != "dep_delay_hours":
            original = np.round(original, 6)
        else:  # sixtieths of an hour
            original = np.round(original * 60) / 60
        found = usual.log(original) - here
    elif fault.name == "20 % zeroed":
        found = np.log(0.8 + np.where(values == 0, 0.2 * np.exp(-here), 0.0))
    elif fault.name == "frozen":
        repeats = np.concatenate([[False], values[1:] == values[:-1]])
        found = np.where(repeats, -here, -50.0)
    else:
        other = rows.fields[fields[1]][0]
        past_other = history.fields[fields[1]][0]
        if other.dtype == object:
            other, past_other = np.array([str(t) for t in other]), np.array([str(t) for t in past_other])
        usual_other = Shares(past_other)
        found = usual.log(other) + usual_other.log(values) - here - usual_other.log(other)
    return np.where(valid, found, 0.0)


def alarm_us(fault: Fault, fields: tuple[str, ...], clean: Rows, struck: Rows, at_us: int, gone: int) -> int | None:
    """When the oracle alarms at or after an instant; None if never. clean : the source, of which the past is history."""
    history = clean.between(at_us - HISTORY_DAYS * DAY_US, at_us)
    past = evidence(fault, fields, history, history, gone)
    levels = _cusum(past)
    days = (history.known_us - history.known_us[0]) // DAY_US
    peaks = np.sort([levels[days == day].max(initial=0.0) for day in range(HISTORY_DAYS)])
    limit = max(float(np.log(len(history) / 8)), float(peaks[-9]))
    recent = struck.between(at_us - 6 * HOUR_US, struck.known_us[-1] + 1)
    found = _cusum(evidence(fault, fields, history, recent, gone))
    hits = np.flatnonzero((found > limit) & (recent.known_us >= at_us))
    return int(recent.known_us[hits[0]]) if len(hits) else None


def _cusum(steps: Floats) -> Floats:
    total = np.concatenate([[0.0], np.cumsum(steps)])
    return (total - np.minimum.accumulate(total))[1:]
