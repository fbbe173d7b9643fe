"""How far an app's processors have come, told by the journal and the feature log, without asking the processors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from samestream.console.backlog import TAIL, backlog
from samestream.monitors.declared import Parity
from samestream.monitors.outcome_task import is_asked_for
from samestream.monitors.profile_writer import subjects
from samestream.schemas.app import App
from samestream.schemas.errors import TransportError
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.clock import NEVER_US
from samestream.streams.engine.health import OPEN_TRANSACTION
from samestream.streams.engine.journal import Balance, Entry
from samestream.streams.plan import Plan
from samestream.streams.transport import Partition, Transport


@dataclass(frozen=True)
class Standing:
    """How far one processor has come. known_us : greatest known time it has judged, None before the first batch.

    watermarks_us : by partition, the greatest event time applied. holding : partitions that hold the others back, and why.
    """

    name: str
    batches: int
    results: int
    lag: int
    known_us: int | None
    balances: Mapping[str, Balance] = field(default_factory=dict)
    partitions: Mapping[str, int] = field(default_factory=dict)
    watermarks_us: Mapping[Partition, int] = field(default_factory=dict)
    holding: Mapping[Partition, str] = field(default_factory=dict)


def standings(transport: Transport, plan: Plan, log_uri: str = "") -> list[Standing]:
    """One for every processor that the journal knows, for the feature engine in any case, and for the log if there is one.

    Raises TransportError where the app's topics do not exist.
    """
    counts = transport.topics()
    if plan.journal not in counts:
        raise TransportError(
            "the app has no topics here", where=plan.app, hint="create them with `samestream apply MODULE`."
        )
    entries: dict[str, list[Entry]] = {"features": []}
    for entry in journal.read(transport, plan.journal):
        entries.setdefault(entry.processor, []).append(entry)
    found = [_standing(transport, counts, plan, name, mine) for name, mine in sorted(entries.items())]
    return found + _logged(transport, counts, plan, log_uri)


def not_yet_run(transport: Transport, app: App, plan: Plan, found: Iterable[Standing]) -> list[str]:
    """The processors of the app that have neither written anything nor committed an offset here, and the log where it is empty."""
    ran = {one.name for one in found if one.batches}
    names = ["features"] + [f"{role}.{model}" for role in ("scorer", "outcomes") for model in plan.models]
    names += [f"monitor.{watched.__monitors__.name}" for watched in app.monitors.values()]
    every = [Partition(topic, number) for topic, count in transport.topics().items() for number in range(count)]
    mine = [part for part in every if part.topic in {spec.name for spec in provision.topics(app, plan)}]
    names += [f"monitor.{one.__monitors__.name}.outcomes" for one in app.monitors.values() if is_asked_for(one)]
    if any(isinstance(check, Parity) for watched in app.monitors.values() for check in watched.__monitors__.features):
        names.append("parity")
    profiled = subjects(plan, app.monitors.values())
    # the groups of profiles are by topic
    if profiled and not any(transport.committed(f"{app.prefix}.profiles.{topic}", mine) for topic in profiled):
        names.append("profiles")
    waiting = [name for name in names if name not in ran and not transport.committed(f"{app.prefix}.{name}", mine)]
    return waiting + ([] if "log" in ran else ["log (it has written nothing yet)"])


def _standing(transport: Transport, counts: Mapping[str, int], plan: Plan, name: str, entries: list[Entry]) -> Standing:
    done = journal.ends(entries)
    topics = {part.topic for part in done}
    if name == "features":
        topics |= {part.topic for part in plan.inputs.values()}
    partitions = {topic: counts[topic] for topic in sorted(topics) if topic in counts}
    return Standing(
        name,
        len(entries),
        sum(entry.emitted for entry in entries),
        backlog(transport, _positions(transport, partitions, done)),
        max((part.known_us for entry in entries for part in entry.ranges), default=None),
        journal.balance(entries),
        partitions,
        {
            part.partition: part.event_time_us
            for entry in entries
            for part in entry.ranges
            if part.event_time_us > NEVER_US
        },
        _holding(transport, _positions(transport, partitions, done)),
    )


def _holding(transport: Transport, positions: Mapping[Partition, int]) -> dict[Partition, str]:
    """The partitions that are read as far as can be, but not to their end: whatever comes later waits for them."""
    ends = transport.ends(positions)
    return {
        part: OPEN_TRANSACTION
        for part, position in positions.items()
        if ends[part].stable < ends[part].high and ends[part].stable - position <= TAIL
    }


def _logged(transport: Transport, counts: Mapping[str, int], plan: Plan, log_uri: str) -> list[Standing]:
    from samestream.streams.log.feature_log import FeatureLog
    from samestream.streams.log.log_writer import logged_inputs

    if not log_uri:
        return []
    log = FeatureLog(log_uri)
    batches = {part.topic: log.batches(part.topic) for part in logged_inputs(plan) if part.topic in counts}
    if not any(batches.values()):
        return []
    done = {
        Partition(topic, number): offset
        for topic, written in batches.items()
        if written
        for number, offset in written[-1].next_offsets.items()
    }
    partitions = {topic: counts[topic] for topic in batches}
    every = [batch for written in batches.values() for batch in written]
    known = [file.known_us[1] for batch in every for file in batch.files]
    lag = backlog(transport, _positions(transport, partitions, done))
    rows = sum(batch.rows for batch in every)
    return [Standing("log", len(every), rows, lag, max(known, default=None), {}, partitions)]


def _positions(
    transport: Transport, partitions: Mapping[str, int], done: Mapping[Partition, int]
) -> dict[Partition, int]:
    every = [Partition(topic, number) for topic, count in partitions.items() for number in range(count)]
    starts = transport.starts([part for part in every if part not in done])
    return {part: done.get(part, starts.get(part, 0)) for part in every}
