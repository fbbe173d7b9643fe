"""Parity with SQL while the system runs: the newest vectors, from the part of the log that their windows reach.

The cost follows the new vectors and the longest window, not the age of the log. A lifetime window needs the whole log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from samestream.monitors.parity_figures import PathFigures
from samestream.monitors.sql_parity import (
    Chosen,
    Differences,
    compare_as_known,
    compare_point_in_time,
    vectors_that_differ,
)
from samestream.schemas.windows import LIFETIME_US
from samestream.streams.engine.journal import Entry
from samestream.streams.engine.merge_rank import MergeRanks
from samestream.streams.engine.order import Batch
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.key_sample import in_sample
from samestream.streams.log.pinned_log import within
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.sql.difference import Difference


class RecentRanks(MergeRanks):
    """Ranks of the newest batches: what is older can be forgotten, and what is newer than the log left out.

    limit : so many of the batches count, the oldest first
    """

    limit = 0

    def judged(self, topic: str, events: pa.Table) -> pa.Table:
        """See `MergeRanks.judged`."""
        counted = MergeRanks()
        counted._parts = {topic: self._parts.get(topic, [])[: self.limit]}
        return counted.judged(topic, events)

    def forget(self, batches: int) -> None:
        """Drop the oldest batches."""
        for parts in self._parts.values():
            del parts[:batches]


class RecentLog(FeatureLog):
    """The log without what was known before an instant and, per topic that has them, outside of some offsets."""

    def __init__(
        self, log: FeatureLog, from_us: int | None, ranges: Mapping[str, Mapping[int, tuple[int, int]]]
    ) -> None:
        self.storage, self.partition_by, self._parsed = log.storage, log.partition_by, log._parsed
        self._from_us, self._ranges = from_us, ranges

    def read(
        self,
        topic: str,
        columns: Sequence[str] | None = None,
        known_from_us: int | None = None,
        known_to_us: int | None = None,
    ) -> pa.Table:
        """See `FeatureLog.read`."""
        bounds = [bound for bound in (self._from_us, known_from_us) if bound is not None]
        table = super().read(topic, None, max(bounds, default=None), known_to_us)
        if topic in self._ranges:
            keep = within(self._ranges[topic], table["_partition"].to_numpy(), table["_offset"].to_numpy())
            table = table.filter(pa.array(keep))
        return table.select(list(columns)) if columns is not None else table


@dataclass
class _Batch:
    """What is kept of a batch.

    first_us : the earliest record timestamp in it. served : per topic and partition of vectors, how far the log must have
    come to hold this batch's; None while that is not known
    """

    entry: Entry
    first_us: int
    known_us: int
    served: Mapping[str, Mapping[int, int]] | None = None


@dataclass
class RecentSql:
    """Compares the vectors of newly logged batches; batches are noted as they are replayed.

    sample : the share of the keys that is compared, by model
    done, told : sequence of the last batch whose vectors were compared as known, and point in time
    """

    plan: Plan
    log: FeatureLog
    sample: Mapping[str, float]
    done: int = -1
    told: int = -1
    _ranks: RecentRanks = field(default_factory=RecentRanks)
    _batches: list[_Batch] = field(default_factory=list)

    def note(self, entry: Entry, batch: Batch) -> None:
        """Take the next batch of the replay."""
        self._ranks.note(batch)
        stamps = [int(chunk.stamps_us.min()) for chunk in batch.taken if len(chunk)]
        self._batches.append(
            _Batch(entry, min(stamps, default=2**62), max((part.known_us for part in entry.ranges), default=0))
        )

    def served(self, offsets: Mapping[str, Mapping[int, int]]) -> None:
        """The vectors of all batches noted lie before these offsets."""
        for one in self._batches:
            if one.served is None:
                one.served = offsets

    @property
    def behind(self) -> int:
        """How many batches wait: for the feature log, or for the next comparison."""
        return sum(one.entry.sequence > self.done for one in self._batches)

    def is_logged(self, trigger: tuple[str, int, int]) -> bool:
        """Whether the log holds all that was applied before a trigger, of batches that were noted and of older ones."""
        waiting = self._batches[len(self._covered()) :]
        start = min(
            (
                part.start
                for one in waiting
                for part in one.entry.ranges
                if (part.partition.topic, part.partition.partition) == trigger[:2] and part.end > part.start
            ),
            default=None,
        )
        return start is None or trigger[2] < start

    def compare(self, found: Mapping[str, tuple[PathFigures, PathFigures]]) -> dict[str, int]:
        """Compare what the log has come to hold, into the figures of each model, as known and point in time.

        Returns how many vectors differ from their values as known, per model; nothing where there was nothing to compare.
        """
        covered = self._covered()
        self._ranks.limit = len(covered)
        new = [one for one in covered if one.entry.sequence > self.done]
        broken: dict[str, int] = {}
        if new:
            for name, (known, _) in found.items():
                model = self.plan.models[name]
                log = RecentLog(self.log, min(one.first_us for one in covered), _ranges(covered))
                parts = compare_as_known(self.plan, model, log, self._ranks, self._of(model, new))
                broken[name] = _add(known, parts, new)
                _note(known, parts, self.plan.inputs[model.trigger].topic)
            self.done = new[-1].entry.sequence
        self._skew(covered, found)
        self._forget(covered)
        return broken

    def _skew(self, covered: list[_Batch], found: Mapping[str, tuple[PathFigures, PathFigures]]) -> None:
        """The lateness skew of vectors to which everything that is not too late has come by now."""
        settle_us = max((part.gate.lateness_us for part in self.plan.inputs.values() if part.gate), default=0)
        newest_us = covered[-1].known_us if covered else 0
        settled = [one for one in covered if one.entry.sequence > self.told and one.known_us <= newest_us - settle_us]
        if not settled:
            return
        for name, (_, skew) in found.items():
            model = self.plan.models[name]
            log = RecentLog(self.log, min(one.first_us for one in covered), {})
            _add(skew, compare_point_in_time(self.plan, model, log, self._of(model, settled)), settled)
        self.told = settled[-1].entry.sequence

    def _covered(self) -> list[_Batch]:
        """The batches kept, as far as the feature log has come, vectors included."""
        topics = [part.topic for part in self.plan.inputs.values()]
        topics += [self.plan.models[name].topics["features"] for name in self.sample]
        reached = {topic: self.log.offsets(topic) for topic in topics}
        found = []
        for one in self._batches:
            needed = [(part.partition.topic, part.partition.partition, part.end) for part in one.entry.ranges]
            needed += [
                (topic, number, end) for topic, ends in (one.served or {}).items() for number, end in ends.items()
            ]
            if one.served is None or any(
                end > reached[topic].get(number, 0) for topic, number, end in needed if topic in reached
            ):
                break
            found.append(one)
        return found

    def _of(self, model: ModelPlan, batches: list[_Batch]) -> Chosen:
        """Those served vectors whose triggers were taken by some batches, and whose keys are in the sample."""
        topic = self.plan.inputs[model.trigger].topic
        spans = _ranges(batches).get(topic, {})
        share = self.sample.get(model.name, 1.0)

        def chosen(served: pa.Table) -> pa.Table:
            keep = within(spans, served["trigger_partition"].to_numpy(), served["trigger_offset"].to_numpy())
            if share < 1:
                keep &= in_sample(served["_key"].to_pylist(), share)
            return served.filter(pa.array(keep))

        return chosen

    def _forget(self, covered: list[_Batch]) -> None:
        """Let go of batches that nothing still to be compared can reach."""
        reach_us = self.plan.longest_window_us
        if reach_us >= LIFETIME_US or not self._batches:
            return
        first = next((at for at, one in enumerate(self._batches) if one.entry.sequence > self.told), len(self._batches))
        if not first:
            return
        since_us = self._batches[first - 1].entry.greatest_us - self.plan.query_lag_us - reach_us
        old = next((at for at, one in enumerate(self._batches[:first]) if one.entry.greatest_us >= since_us), first)
        self._ranks.forget(old)
        del self._batches[:old]


def _ranges(batches: Sequence[_Batch]) -> dict[str, dict[int, tuple[int, int]]]:
    found: dict[str, dict[int, tuple[int, int]]] = {}
    for one in batches:
        for part in one.entry.ranges:
            mine = found.setdefault(part.partition.topic, {})
            start, _ = mine.get(part.partition.partition, (part.start, part.end))
            mine[part.partition.partition] = (start, part.end)
    return found


def _add(figures: PathFigures, parts: Mapping[str, Difference], batches: Sequence[_Batch]) -> int:
    broken = vectors_that_differ(parts)
    figures.compared += max((part.compared for part in parts.values()), default=0)
    figures.mismatched += broken
    figures.newest_known_us = max(figures.newest_known_us, batches[-1].known_us)
    for name, part in parts.items():
        figures.feature(name).add(part)
    return broken


def _note(figures: PathFigures, parts: Differences, topic: str) -> None:
    """Take note of which vectors differ, and since when. topic : of their triggers"""
    if len(parts.broken_us):
        figures.broken_known_us = max(figures.broken_known_us, int(parts.broken_us[-1]))
        figures.spell = parts.spelled(figures.spell, topic)
    if figures.spell is not None:
        figures.spell.count(parts.known_us)
