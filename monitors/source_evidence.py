"""What is told of an incident of a source beside its numbers: which of the latest events show it, and where these sit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.cells import cells_of, restored_cells
from samestream.monitors.diagnosis import instant
from samestream.monitors.drift_evidence import bounded
from samestream.monitors.group_silence import GroupSilence
from samestream.monitors.incidents import HOUR_US, Finding
from samestream.monitors.instant_evidence import NO_INSTANT
from samestream.monitors.latest_rows import Columns, LatestRows
from samestream.monitors.number_watch import NumberWatch
from samestream.monitors.side_by_side import texts_side_by_side
from samestream.monitors.slices import FEW, TOLD_ROWS, SampledRows, keys_of, short, where_marked
from samestream.monitors.source_spec import SourceSpec
from samestream.monitors.text_watch import TextWatch
from samestream.monitors.traffic_watch import SECOND_US, TrafficWatch
from samestream.monitors.usual import HOURS_A_GROUP
from samestream.streams.zones import offset_us

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Column = tuple[npt.NDArray[Any], Bools]

SHOWN = 50
"""Latest events that a share is told of when an incident opens."""
OF_LAGS = ("late_data", "clock")
OF_VALUES = ("bad_values", "sentinel", "zeroed", "frozen", "unit", "nulls", "swapped", "respelled", "new_category")
SHOWN_BY_EVENTS = frozenset({*OF_VALUES, *OF_LAGS, "duplicated"})


@dataclass(frozen=True, eq=False)
class _Rows:
    """Events, shape (n,) each. slots : numbers of keys. again : repeated ones. fields : texts as texts. codes : of texts."""

    known_us: Ints
    time_us: Ints
    partitions: Ints
    slots: Ints
    keys: npt.NDArray[Any]
    offsets: Ints
    again: Bools
    fields: Mapping[str, Column]
    codes: Mapping[str, Ints]


class SourceEvidence:
    """See the module. said : texts by their codes. zone : in whose hours the source lives."""

    def __init__(
        self,
        spec: SourceSpec,
        traffic: TrafficWatch,
        numbers: Sequence[NumberWatch],
        texts: Sequence[TextWatch],
        groups: Sequence[GroupSilence],
        said: Sequence[str],
        zone: str,
    ) -> None:
        self._spec, self._traffic, self._groups, self._said, self._zone = spec, traffic, groups, said, zone
        self._numbers = {watch.cause.removeprefix(f"{spec.event}."): watch for watch in numbers}
        self._texts = {watch.cause.removeprefix(f"{spec.event}."): watch for watch in texts}
        self.latest = LatestRows()
        self._seen = 0

    def turn(self, rows: Columns, again: Bools) -> None:
        """Begin a tick. rows : as `SourceWatch.add` keeps them. again : is to hold which of them are repeated ones."""
        self.latest.turn((*rows, again) if len(again) else None)
        self._seen += len(again)

    def of(self, cause: str, finding: Finding) -> Finding:
        """A finding that knows the events that show it, where events do; they are looked for when it is told."""
        field = cause.removeprefix(f"{self._spec.event}.")
        own = (*self._spec.flag_fields, *self._spec.instant_fields)  # what is odd about these they tell by themselves
        if finding.verdict not in SHOWN_BY_EVENTS or (field in own and finding.verdict not in ("nulls", "frozen")):
            return finding
        return replace(finding, teller=partial(self._told, cause, finding), seen=self._seen)

    def _told(
        self, cause: str, finding: Finding, evidence: Mapping[str, Any], since_us: int | None
    ) -> Mapping[str, Any]:
        """All evidence of a finding. since_us : known time from which shares are told anew; None where it is told first."""
        columns, field = self.latest.columns(), cause.removeprefix(f"{self._spec.event}.")
        whole = dict(evidence)
        if columns:
            rows = self._rows(columns)
            marked = self._marked(field, finding, rows)
            whole |= self._histograms(field, finding, rows, since_us)
            whole |= _shares(finding, rows, marked, since_us)
            if marked.any():
                whole |= self._sitting(field, rows, marked)
                whole["examples"] = self._examples(field, finding, rows, marked)
        if cause != self._spec.event:
            whole["field"] = cause
        return bounded(_cut(whole))

    def _rows(self, columns: Columns) -> _Rows:
        known_us, time_us, _, partitions, slots, keys, offsets, *rest, again = columns
        numeric, texts = self._spec.numeric_fields, self._spec.text_fields
        fields = {name: (rest[2 * at], rest[2 * at + 1]) for at, name in enumerate(numeric)}
        kinds = rest[2 * len(numeric) : len(rest) - len(self._groups)]
        by_name = dict(zip((*texts, *self._spec.flag_fields, *self._spec.instant_fields), kinds, strict=True))
        codes = {name: by_name[name] for name in texts if name in self._texts and not self._texts[name].crowded}
        said = np.array([*self._said, None], object)  # null has the code -1
        fields |= {name: (said[of], of >= 0) for name, of in codes.items()}
        fields |= {name: (by_name[name], by_name[name] >= 0) for name in self._spec.flag_fields}
        fields |= {name: (by_name[name], by_name[name] != NO_INSTANT) for name in self._spec.instant_fields}
        numbers = rest[len(rest) - len(self._groups) :]
        for group, of in zip(self._groups, numbers, strict=True):
            fields.setdefault(group.field, group.texts(of))
        return _Rows(known_us, time_us, partitions, slots, keys, offsets, again, fields, codes)

    def _marked(self, field: str, finding: Finding, rows: _Rows) -> Bools:
        """Which events show a finding, shape (n,)."""
        verdict, none = finding.verdict, np.zeros(len(rows.known_us), np.bool_)
        if any(name in self._texts and name not in rows.codes for name in _fields(field, finding)):
            return none  # there are too many texts by now
        if verdict == "duplicated":
            return rows.again
        if verdict in OF_LAGS:
            return self._traffic.odd(verdict, _lags_s(rows))
        if verdict == "swapped":
            return self._swapped(finding, rows)
        values, valid = rows.fields[field]
        if verdict == "nulls":
            return ~(valid & np.isfinite(values)) if field in self._numbers else ~valid
        if verdict == "frozen":
            return _repeats(values, valid, rows.slots)
        if field in self._texts:
            table = self._texts[field].table
            return none if table is None else ~_known(rows.codes[field], table.usual) & valid
        watch = self._numbers[field]
        finite = valid & np.isfinite(values)
        if verdict == "bad_values":
            return valid & (~finite | (values < watch.low) | (values > watch.high))
        if verdict == "unit":
            if watch.table is None:
                return none
            groups, x = self._groups_of_day(rows.known_us), np.where(finite, values, 0.0)
            scale, offset = finding.evidence["scale"], finding.evidence["offset"]
            usual = watch.table.usual
            fits = usual[groups, restored_cells(x, scale, offset)] > usual[groups, cells_of(x)]
            return np.asarray(finite & fits, np.bool_)
        return np.asarray(finite & (values == finding.evidence.get("value", 0.0)), np.bool_)

    def _swapped(self, finding: Finding, rows: _Rows) -> Bools:
        """Events of which two values fit better the other way round."""
        names, usual = _fields("", finding), []
        for name in names:
            watch = self._texts.get(name) or self._numbers[name]
            if watch.table is None:
                return np.zeros(len(rows.known_us), np.bool_)
            usual.append(watch.table.usual)
        valid = rows.fields[names[0]][1] & rows.fields[names[1]][1]
        if names[0] in self._texts:
            first, second = (rows.codes[name] for name in names)
            fits = [[np.maximum(_log_share(table, codes), -10.0) for codes in (first, second)] for table in usual]
        else:
            groups = self._groups_of_day(rows.known_us)
            cells = [cells_of(np.nan_to_num(rows.fields[name][0])) for name in names]
            fits = [[table[groups, of] for of in cells] for table in usual]
        return np.asarray(valid & (fits[1][0] + fits[0][1] > fits[0][0] + fits[1][1]), np.bool_)

    def _groups_of_day(self, known_us: Ints) -> Ints:
        local_us = known_us + offset_us(self._zone, int(known_us[-1]))
        return np.asarray(local_us // HOUR_US % 24 // HOURS_A_GROUP)

    def _histograms(self, field: str, finding: Finding, rows: _Rows, since_us: int | None) -> Mapping[str, Any]:
        chosen = _chosen(rows, since_us)
        if finding.verdict in OF_LAGS:
            return self._traffic.lags_side_by_side(_lags_s(rows)[chosen])
        table = self._texts[field].table if field in rows.codes else None
        return {} if table is None else texts_side_by_side(table.usual, rows.codes[field][chosen], self._said)

    def _sitting(self, field: str, rows: _Rows, marked: Bools) -> dict[str, Any]:
        """Where the events sit, among all that came since the first of them."""
        first = int(np.argmax(marked))
        keys = keys_of(["" if key is None else key for key in rows.keys[first:]])
        fields = {
            name: (values[first:], valid[first:])
            for name, (values, valid) in rows.fields.items()
            if values.dtype == object or len(np.unique(values)) <= FEW
        }
        since = SampledRows(rows.known_us[first:], keys, fields, len(keys))
        return where_marked(since, marked[first:], but=field)

    def _examples(self, field: str, finding: Finding, rows: _Rows, marked: Bools) -> list[dict[str, Any]]:
        """The latest events of different keys that show it: where they lie, when they happened and what they say."""
        told: dict[Any, dict[str, Any]] = {}
        fields = _fields(field, finding)
        for place in np.flatnonzero(marked)[::-1].tolist():
            key = rows.keys[place]
            if (place if key is None else key) in told:
                continue
            one: dict[str, Any] = {"at": instant(int(rows.known_us[place]))}
            one |= {} if key is None else {"key": str(key)}
            one |= {"event_time": instant(int(rows.time_us[place])), "partition": int(rows.partitions[place])}
            one |= {"offset": int(rows.offsets[place])} if rows.offsets[place] >= 0 else {}
            values = [self._value(name, *rows.fields[name], place) for name in fields if name in rows.fields]
            if values:
                one["value"] = values[0] if len(values) == 1 else values
            elif finding.verdict in OF_LAGS:
                one["lag_minutes"] = round(float(_lags_s(rows)[place]) / 60, 2)
            told[place if key is None else key] = one
            if len(told) == TOLD_ROWS:
                break
        return list(told.values())

    def _value(self, name: str, values: npt.NDArray[Any], valid: Bools, place: int) -> Any:
        if not valid[place]:
            return None
        if name in self._spec.flag_fields:
            return bool(values[place])
        return instant(int(values[place])) if name in self._spec.instant_fields else short(values[place])


def _fields(field: str, finding: Finding) -> list[str]:
    """The fields that a finding is about: its own, or two that may be exchanged."""
    return [cause.split(".", 1)[1] for cause in finding.evidence.get("exchanged", ())] or [field]


def _shares(finding: Finding, rows: _Rows, marked: Bools, since_us: int | None) -> dict[str, Any]:
    """The share of events that show it: where it is told anew, of all since; else of the latest, where it is not told yet."""
    if finding.verdict in ("frozen", "unit", "swapped"):
        return {}  # chance has its part in which events seem to show it
    named = {"nulls": "null_share", "zeroed": "zero_share"}.get(finding.verdict, "share")
    name = "share" if "share" in finding.evidence else named
    if since_us is None and name in finding.evidence:
        return {}
    chosen = _chosen(rows, since_us)
    count = int(np.count_nonzero(chosen))
    return {name: round(float(np.mean(marked[chosen])), 4), "share_of_events": count} if count else {}


def _chosen(rows: _Rows, since_us: int | None) -> Bools:
    """All events since an instant, or the latest where there is none. Shape (n,)."""
    count = len(rows.known_us)
    return np.arange(count) >= count - SHOWN if since_us is None else rows.known_us >= since_us


def _lags_s(rows: _Rows) -> npt.NDArray[np.float64]:
    return np.asarray(np.round((rows.known_us - rows.time_us) / SECOND_US))


def _repeats(values: npt.NDArray[Any], valid: Bools, slots: Ints) -> Bools:
    """Which values are those that their key said last, shape (n,)."""
    found = np.zeros(len(values), np.bool_)
    places = np.flatnonzero(valid)
    places = places[np.argsort(slots[places], kind="stable")]
    same = (slots[places][1:] == slots[places][:-1]) & (values[places][1:] == values[places][:-1])
    found[places[1:][same.astype(np.bool_)]] = True
    return found


def _known(codes: Ints, usual: npt.NDArray[np.float64]) -> Bools:
    return _log_share(usual, codes) > -np.inf


def _log_share(usual: npt.NDArray[np.float64], codes: Ints) -> npt.NDArray[np.float64]:
    """Log of the share of each code, -inf for null and for what was never seen. Shape (n,)."""
    inside = (codes >= 0) & (codes < len(usual))
    return np.where(inside, usual[np.where(inside, codes, 0)], -np.inf) if len(usual) else np.full(len(codes), -np.inf)


def _cut(told: Any) -> Any:
    """Evidence in which no text is longer than 64 characters."""
    if isinstance(told, Mapping):
        return {_cut(name): _cut(value) for name, value in told.items()}
    if isinstance(told, list | tuple):
        return [_cut(part) for part in told]
    return short(told) if isinstance(told, str) else told
