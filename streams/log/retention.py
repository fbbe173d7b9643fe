"""How much of the feature log must be kept, and cutting off what need not be.

Vectors, predictions and outcomes are kept from an instant on. Of the events that features are made of more is kept: from the
batch of the journal on with which a replay of those vectors begins, so that each can still be replayed and computed in SQL. Where
a window has no beginning, or there is a table, that is the first batch of all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from samestream.schemas.errors import FeatureLogError
from samestream.schemas.expressions import Kind
from samestream.schemas.windows import LIFETIME_US
from samestream.streams import columns as cols
from samestream.streams.engine.journal import Entry
from samestream.streams.log import rewriting
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_writer import logged_inputs
from samestream.streams.log.vector_replay import span
from samestream.streams.plan import Plan


@dataclass(frozen=True)
class Cut:
    """What is to go of a topic: by partition, the offsets below ``starts``. Where nothing may go, ``why`` says so."""

    topic: str
    starts: dict[int, int]
    why: str = ""


@dataclass(frozen=True)
class Needed:
    """A training set that is made of offsets which a cut would take, and so could not be made again."""

    manifest: Path
    topic: str
    partition: int
    start: int


def newest_known_us(log: FeatureLog, plan: Plan) -> int | None:
    """When the log last learned of anything, of all topics of the app; None if it is empty."""
    files = [file for part in logged_inputs(plan) for file in log.in_force(part.topic)]
    return max((file.known_us[1] for file in files), default=None)


def planned(plan: Plan, log: FeatureLog, entries: Sequence[Entry], before_us: int) -> list[Cut]:
    """What may go, topic by topic, if vectors known before an instant need not be kept.

    entries : the feature processor's, from the journal
    """
    found, oldest_us = [], before_us
    for model in plan.models.values():
        topic = model.topics["features"]
        if log.newest(topic) is not None:
            vectors = log.read(topic, ["event_time"], known_from_us=before_us)
            times = cols.from_arrow(vectors["event_time"], Kind.TIME)
            oldest_us = min([oldest_us, *times.values[times.valid].tolist()])
        found += [
            Cut(model.topics[kind], rewriting.cut_offsets(log, model.topics[kind], before_us))
            for kind in ("features", "predictions", "outcomes")
        ]
    reach = span(plan, entries, oldest_us, None)
    begin: dict[str, dict[int, int]] = {}
    for entry in reversed(entries[reach.state :]):
        for part in entry.ranges:
            begin.setdefault(part.partition.topic, {})[part.partition.partition] = part.start
    for name, input in plan.events.items():
        if name not in plan.inputs:  # labels: an event is known at most `ahead` before it happens
            ahead_us = input.gate.ahead_us if input.gate else 0
            found.append(Cut(input.topic, rewriting.cut_offsets(log, input.topic, oldest_us - ahead_us)))
            continue
        held = log.ranges(input.topic)
        wanted = begin.get(input.topic, {})
        starts = {number: wanted[number] for number, (start, _) in held.items() if wanted.get(number, start) > start}
        endless = not starts and plan.longest_window_us >= LIFETIME_US
        found.append(Cut(input.topic, starts, "a window without a beginning reaches all of it" if endless else ""))
    return found


def needed_by(cuts: Iterable[Cut], folders: Iterable[Path]) -> list[Needed]:
    """The training sets in some folders whose manifests name offsets that would go."""
    manifests = []
    for path in sorted(path for folder in folders for path in folder.glob("*/manifest.json")):
        try:
            manifests.append((path, json.loads(path.read_text())["offsets"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FeatureLogError(
                "a training set's manifest cannot be read, so it is not known what it needs",
                where=str(path),
                found=error,
                hint="restore it, or move its folder away.",
            ) from error
    return [
        Needed(path, cut.topic, int(number), start)
        for path, offsets in manifests
        for cut in cuts
        for number, (start, end) in offsets.get(cut.topic, {}).items()
        if end > start and start < cut.starts.get(int(number), 0)
    ]


def cut(log: FeatureLog, cuts: Iterable[Cut]) -> list[rewriting.Rewritten]:
    """Do it, topic by topic: vectors before the events that they are made of."""
    return [rewriting.cut(log, part.topic, part.starts) for part in cuts if part.starts]
