"""`samestream monitor MODULE ID --again`: the fault of an incident, found again in the log; nothing is taken from the record.

A parity incident is replayed and computed in SQL, a swapped model scores the stored vectors, and of all else the log's own
values before and after are told. Only when and where to look comes from the incident.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samestream.console import before_after
from samestream.console.reading import every, instant
from samestream.console.rejected import parse
from samestream.monitors.declared import Drift
from samestream.monitors.diagnosis import PARITY_BROKEN
from samestream.monitors.events_behind import events_behind
from samestream.monitors.incidents import DAY_US, HOUR_US, IncidentRecord
from samestream.monitors.parity_figures import PathFigures
from samestream.monitors.recent_sql import RecentSql
from samestream.monitors.score_parity import SWAPPED, score_again
from samestream.monitors.vector_match import Trigger, bits, trigger_of
from samestream.schemas.avro import Codec
from samestream.schemas.errors import ArtifactError, FeatureLogError
from samestream.streams.columns import Float64Array
from samestream.streams.engine.columnar import Vectors
from samestream.streams.engine.feature_task import VectorEncoder
from samestream.streams.log.erasure import without_erased
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_source import groups
from samestream.streams.log.logged_columns import fields_of
from samestream.streams.log.vector_replay import Span, followed, journaled, logged_of, span
from samestream.streams.models import artifact, model_registry
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Transport
from samestream.streams.wire.decode import vector_input

if TYPE_CHECKING:
    from samestream.schemas.app import App

AROUND_US = HOUR_US
SHOWN, MOST_FIELDS = 10, 6
"""So long around the opening is looked at; and so many of what differs are shown, and fields of an event."""


def shown_again(transport: Transport, app: App, plan: Plan, log: FeatureLog, incident: IncidentRecord) -> Iterator[str]:
    """Lines that show the fault of an incident, computed now.

    Raises FeatureLogError where the log does not reach there.
    """
    model = plan.models[incident.subject.partition(".")[0]]
    place = incident.evidence.get("place")
    if incident.verdict == PARITY_BROKEN:
        yield from _parity(transport, plan, model, log, incident)
    elif incident.verdict == SWAPPED:
        yield from _scores(transport, plan, model, log, incident)
    elif place == "source":
        yield from _source(transport, plan, log, incident)
    elif place == "labels":
        yield from _labels(model, log, incident)
    else:
        yield from _moved(app, plan, model, log, incident)


def _parity(
    transport: Transport, plan: Plan, model: ModelPlan, log: FeatureLog, incident: IncidentRecord
) -> Iterator[str]:
    """The vectors from the first that differed on: replayed, and computed in SQL, beside what was served."""
    from_us, to_us = incident.opened_at_us, incident.opened_at_us + AROUND_US
    topic = model.topics["features"]
    served = _served(model, _logged(log, topic, from_us, to_us))
    entries = logged_of(plan, log, journaled(transport=transport, plan=plan, log=log))
    times = [one["event_time"] for one in served.values()]
    part = span(plan, entries, min(times, default=from_us), max(times, default=from_us) + 1)
    codec, encoder = Codec(model.vector_schema), VectorEncoder(plan)
    sql = RecentSql(plan, log, {model.name: 1.0}, entries[part.first - 1].sequence if part.first else -1, 2**62)
    replayed: dict[Trigger, dict[str, Any]] = {}
    required: set[Trigger] = set()  # another definition need not have served what the present one makes
    parts = [*groups(entries, part.state, part.first), *groups(entries, part.first, part.end)]
    for entry, batch, made in followed(
        plan, transport, log, entries, Span(part.state, part.state, part.end), parts=parts
    ):
        sql.note(entry, batch)
        for vectors in made:
            if vectors.model.name == model.name:
                found = dict(_between(vectors, encoder, codec, from_us, to_us))
                replayed.update(found)
                required.update(found if entry.fingerprint == plan.fingerprint else ())
    yield f"{len(served):,} vectors of {topic}, known from {instant(from_us)} to {instant(to_us)}"
    wrong = {
        trigger: [name for name in model.outputs if bits(one[name]) != bits(replayed[trigger][name])]
        for trigger, one in served.items()
        if trigger in replayed
    }
    wrong = {trigger: names for trigger, names in wrong.items() if names}
    missing = len(required - served.keys())
    yield f"replayed through the kernel: {len(wrong):,} differ from what was served, {missing:,} were never served"
    yield from _beside({trigger: (served[trigger], replayed[trigger], names) for trigger, names in wrong.items()})
    for trigger, names in list(wrong.items())[:1]:
        yield from _behind(plan, model, log, trigger, names[0])
    sql.served({})
    figures = PathFigures()
    sql.compare({model.name: (figures, PathFigures())})
    yield f"computed in SQL as known: of {figures.compared:,} vectors of the same batches {figures.mismatched:,} differ"
    for one in figures.spell.examples[:SHOWN] if figures.spell is not None else ():
        topic_, number, offset = one["trigger"]
        for name, (here, expected) in one["differs"].items():
            yield f"  {topic_}[{number}] {offset}  {one['entity']}  {name}: served {here}, SQL {expected}"


def _between(
    vectors: Vectors, encoder: VectorEncoder, codec: Codec, from_us: int, to_us: int
) -> Iterator[tuple[Trigger, dict[str, Any]]]:
    """Vectors known in [from, to), as their records have them, by trigger."""
    wanted = (vectors.known_us >= from_us) & (vectors.known_us < to_us)
    if wanted.any():
        for record, is_wanted in zip(encoder.records(vectors), wanted.tolist(), strict=True):
            if is_wanted:
                found = codec.decode(record.value or b"")
                yield trigger_of(found), found


def _beside(wrong: Mapping[Trigger, tuple[dict[str, Any], dict[str, Any], list[str]]]) -> Iterator[str]:
    for (topic, number, offset), (here, there, names) in list(wrong.items())[:SHOWN]:
        for name in names:
            yield f"  {topic}[{number}] {offset}  {here['entity']}  {name}: served {here[name]}, replayed {there[name]}"
    if len(wrong) > SHOWN:
        yield f"  and {len(wrong) - SHOWN:,} more"


def _behind(plan: Plan, model: ModelPlan, log: FeatureLog, trigger: Trigger, feature: str) -> Iterator[str]:
    """The events that one value was made of."""
    for topic, told in (events_behind(plan, model, feature, trigger, log) or {}).items():
        yield f"  {feature} of {trigger[0]}[{trigger[1]}] {trigger[2]} is made of {told['events']:,} events of {topic}:"
        for event in told["newest"]:
            yield "    " + "  ".join(f"{name}={value}" for name, value in event.items() if name not in ("place", "at"))


def _scores(
    transport: Transport, plan: Plan, model: ModelPlan, log: FeatureLog, incident: IncidentRecord
) -> Iterator[str]:
    """The predictions around the opening beside what the announced artifacts say of the stored vectors."""
    from_us, to_us = incident.opened_at_us - AROUND_US, incident.opened_at_us + AROUND_US
    said = _logged(log, model.topics["predictions"], from_us, to_us)
    vectors = _logged(log, model.topics["features"], from_us, to_us)
    rows = {(p, o): row for row, (p, o) in enumerate(_triggers(vectors))}
    announced = {
        one.version: one for one in model_registry.versions(transport, plan.registry) if one.model == model.name
    }
    features = fields_of(vector_input("vectors", model.topics["features"], model.vector_schema), vectors)
    pairs = [(mine, rows[place]) for mine, place in enumerate(_triggers(said)) if place in rows]
    versions = said["version"].to_pylist()
    lines, count, differ = list[str](), 0, 0
    for version in dict.fromkeys(versions[mine] for mine, _ in pairs):
        mine = [pair for pair in pairs if versions[pair[0]] == version]
        if version not in announced:
            yield f"version {version} was never announced on {plan.registry}: {len(mine):,} predictions are by it"
            continue
        one = announced[version]
        try:
            loaded = artifact.load(one.artifact, one.digest)
        except ArtifactError as error:
            yield f"version {version} cannot score them again: {error.line}"
            continue
        taken = np.array([row for _, row in mine], np.int64)
        scores, values = score_again(loaded, {name: features[name].take(taken) for name in loaded.inputs})
        yield f"version {version}, announced as {one.artifact} (sha256 {one.digest[:12]})"
        for place, (row, _) in enumerate(mine):
            there, here = float(scores[place]), said["score"][row].as_py()
            count += 1
            same = np.isnan(there) if here is None else here == there
            if values is not None and same and here is not None:
                same = said["value"][row].as_py() == values[place]
            if not same:
                differ += 1
                where = f"{said['trigger_topic'][row]}[{said['trigger_partition'][row]}] {said['trigger_offset'][row]}"
                known = instant(int(before_after.known_us(said.slice(row, 1))[0]))
                lines.append(
                    f"  {where}  {said['entity'][row]}  known {known}: served {here}, the artifact says {there}"
                )
    yield f"{count:,} predictions known from {instant(from_us)} to {instant(to_us)} scored again: {differ:,} differ"
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:
        yield f"  and {len(lines) - SHOWN:,} more"


def _source(transport: Transport, plan: Plan, log: FeatureLog, incident: IncidentRecord) -> Iterator[str]:
    """The source's own events around the opening."""
    event = incident.cause.partition(".")[0]
    source, evidence = plan.events[event], incident.evidence
    stopped_us = _silence_us(evidence)
    from_us, to_us = incident.opened_at_us - stopped_us - AROUND_US, incident.opened_at_us + AROUND_US
    table = _logged(log, source.topic, from_us, to_us)
    yield from before_after.counts(table, from_us, incident.opened_at_us, to_us, f"events of {source.topic}")
    before, after = before_after.sides(table, incident.opened_at_us)
    if source.time:
        late = [
            pa.chunked_array([pa.array((_us(side, "_known") - _us(side, source.time)) / 1e6)])
            for side in (before, after)
        ]
        yield from before_after.column("seconds late", *late)
        again = [
            len(side) - len(side.group_by([source.key, source.time] if source.key else [source.time]).aggregate([]))
            for side in (before, after)
        ]
        yield f"  {'come again':<12}{again[0]:>28,}{again[1]:>28,}"
    names = _fields(source.columns, event, incident)
    for name in names:
        if name in table.column_names:
            yield from before_after.column(name, before[name], after[name])
    yield "the first events after it opened:"
    if stopped_us:  # when it spoke again
        table = log.read(source.topic, known_from_us=incident.opened_at_us, known_to_us=incident.opened_at_us + DAY_US)
    told = names or list(source.columns)[:MOST_FIELDS]
    first = list(before_after.first(table, incident.opened_at_us, source.key, source.time, told))
    yield from first or ["  none"]
    if incident.verdict == "unreadable":
        dead = [one for one in map(parse, every(transport, f"{source.topic}.dead")) if one is not None]
        near = [one for one in dead if from_us <= one.known_us < to_us]
        yield f"{len(near):,} events could not be read meanwhile:"
        for one in near[:SHOWN]:
            yield from (f"  {line}" for line in one.text(None).splitlines())


def _fields(columns: Mapping[str, Any], event: str, incident: IncidentRecord) -> list[str]:
    """The fields of an event that an incident is about: its cause, and what its evidence names besides."""
    told = [value for value in incident.evidence.values() if isinstance(value, str)]
    also = [str(one) for one in incident.evidence.get("also", ())]
    named = [text.removeprefix(f"{event}.") for text in (incident.cause, *also, *told)]
    return [name for name in dict.fromkeys(named) if name in columns]


def _silence_us(evidence: Mapping[str, Any]) -> int:
    """How long nothing had come when a silence was told of; 0 for what is no silence."""
    return round(float(evidence.get("silent_hours", 0)) * HOUR_US)


def _labels(model: ModelPlan, log: FeatureLog, incident: IncidentRecord) -> Iterator[str]:
    """What then happened beside what was said of it, a day before and after."""
    at_us, topic = incident.opened_at_us, model.topics["outcomes"]
    table = _logged(log, topic, at_us - DAY_US, at_us + DAY_US)
    table = table.filter(pc.field("state") == "labelled")
    yield from before_after.counts(table, at_us - DAY_US, at_us, at_us + DAY_US, f"labels of {topic}")
    names = ("score", "label_value", "label_probability") if model.output == "class" else ("score", "label")
    before, after = before_after.sides(table, at_us)
    for name in names:
        yield from before_after.column(name, before[name], after[name])
    if model.output != "class":
        apart = [_numbers(side["score"]) - _numbers(side["label"]) for side in (before, after)]
        yield from before_after.column("squared error", *(pa.chunked_array([pa.array(side**2)]) for side in apart))
        means = [f"{np.mean(side**2):.6g}" if len(side) else "-" for side in apart]
        yield f"  {'mean':<12}{means[0]:>28}{means[1]:>28}"


def _moved(app: App, plan: Plan, model: ModelPlan, log: FeatureLog, incident: IncidentRecord) -> Iterator[str]:
    """What moved, in the windows that told it and in seven times as long before."""
    declared = next(one.__monitors__ for one in app.monitors.values() if one.__monitors__.of.__name__ == model.name)
    windows = [check.window_us for check in (*declared.features, *declared.scores) if isinstance(check, Drift)]
    # a move is told after two windows and four hours
    span_us = max(2 * max(windows, default=DAY_US), 4 * HOUR_US)
    from_us, at_us, to_us = (incident.opened_at_us + part * span_us for part in (-8, -1, 1))
    names = list(incident.evidence.get("moved", {})) or [incident.subject.partition(".")[2]]
    for name in names:
        topic = model.topics["features" if name in model.outputs else "predictions"]
        table = _logged(log, topic, from_us, to_us)
        before, after = before_after.sides(table, at_us)
        yield f"{topic}: before, known from {instant(from_us)}, and after, from {instant(at_us)} to {instant(to_us)}"
        said = "value" if name == "score" and model.output == "class" else name
        yield from before_after.column(said, before[said], after[said])


def _logged(log: FeatureLog, topic: str, from_us: int, to_us: int) -> pa.Table:
    """The rows of a topic known in [from, to). Raises FeatureLogError where there are none."""
    table = without_erased(log.read(topic, known_from_us=max(from_us, 0), known_to_us=to_us))
    if not table.num_rows:
        raise FeatureLogError(
            "the feature log holds nothing of this time",
            where=topic,
            found=f"no row known from {instant(from_us)} to {instant(to_us)}",
            hint="let `samestream run MODULE log` catch up, and check --log; what retention cut off cannot be shown again.",
        )
    return table


def _served(model: ModelPlan, table: pa.Table) -> dict[Trigger, dict[str, Any]]:
    """The vectors of the present definition as their records have them, times as microseconds, by trigger."""
    mine = table.filter(pc.field("fingerprint") == model.fingerprint)
    columns = {name: _plain(mine[name]) for name in mine.column_names}
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return {trigger_of(one): one for one in rows}


def _plain(column: pa.ChunkedArray[Any]) -> list[Any]:
    found: list[Any] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
    return found


def _us(table: pa.Table, name: str) -> Float64Array:
    return _numbers(table[name].cast(pa.timestamp("us", "UTC")).cast(pa.int64()))


def _numbers(column: pa.ChunkedArray[Any]) -> Float64Array:
    """A column as numbers, null as NaN."""
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _triggers(table: pa.Table) -> list[tuple[int, int]]:
    places = (table[name].to_numpy().tolist() for name in ("trigger_partition", "trigger_offset"))
    return list(zip(*places, strict=True))
