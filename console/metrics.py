"""How a crew is doing, in Prometheus' text format."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from samestream.console.crew import Crew, Lags
from samestream.streams.engine.health import Health
from samestream.streams.engine.measures import Measure, measures_of

Sample = tuple[dict[str, str], float]


def metrics(crew: Crew, lags: Lags) -> str:
    """All families.

    Throughput is the rate of `events_total`; the time of a batch is the rate of `batch_seconds_total` to that of `batches_total`.
    """
    health = [role.health for role in crew.roles]

    def of(name: str) -> Iterable[Sample]:
        return [({"role": one.name}, float(getattr(one, name))) for one in health]

    decisions = ("applied", "late", "dead")
    events: list[Sample] = [
        ({"role": one.name, "topic": topic, "decision": decision}, getattr(balance, decision))
        for one in health
        for topic, balance in list(one.balances.items())
        for decision in decisions
    ]
    lag = [({"role": role.health.name}, float(lags.of(role))) for role in crew.roles]
    stalled = [({"role": one.name}, float(len(one.stalled_by))) for one in health]
    running = [({"role": one.name}, float(one.state == "running")) for one in health]
    standby = [({"role": one.name}, float(one.state == "standby")) for one in health]
    known = [({"role": one.name}, one.known_us / 1e6) for one in health]
    snapshot = [({"role": one.name}, one.snapshot_us / 1e6) for one in health if one.snapshot_us]
    holding = [
        ({"role": one.name, "partition": stall.partition, "why": stall.why}, 1.0)
        for one in health
        for stall in list(one.stalls)
    ]
    families: tuple[tuple[str, str, str, Iterable[Sample]], ...] = (
        ("events_total", "counter", "Events judged, by what became of them.", events),
        ("batches_total", "counter", "Batches committed.", of("batches")),
        ("batch_seconds_total", "counter", "Seconds of work of all batches, until they were committed.", of("batch_s")),
        ("last_batch_seconds", "gauge", "Seconds of work of the latest batch.", of("last_batch_s")),
        ("results_total", "counter", "Records written.", of("results")),
        ("lag", "gauge", "Records in the topics that are not yet judged.", lag),
        ("held_bytes", "gauge", "Bytes of events that are read and wait for others.", of("held_bytes")),
        ("stalled", "gauge", "Partitions that are waited for.", stalled),
        ("stalled_seconds", "gauge", "For how long nothing could pass them.", _stalled_for(health)),
        ("holds_back", "gauge", "Which partition holds the others back, and why.", holding),
        ("running", "gauge", "Whether it runs.", running),
        ("standby", "gauge", "Whether it waits behind the active process.", standby),
        ("broker_up", "gauge", "Whether a broker has answered lately.", [({}, float(lags.silent_since_us is None))]),
        ("known_time_seconds", "gauge", "Known time reached, in seconds since 1970.", known),
        (
            "watermark_seconds",
            "gauge",
            "Greatest event time applied, in seconds since 1970.",
            _watermarks(health, False),
        ),
        (
            "watermark_delay_seconds",
            "gauge",
            "How far a partition's event time lies behind the known time reached.",
            _watermarks(health, True),
        ),
        ("recovery_seconds", "gauge", "Seconds that the batches replayed since the start took.", of("recovered_s")),
        ("replayed_batches", "gauge", "Batches replayed since the start.", of("replayed")),
        ("snapshots_total", "counter", "Snapshots of state written.", of("snapshots")),
        ("snapshots_failed_total", "counter", "Snapshots that could not be written.", of("snapshots_failed")),
        ("snapshot_time_seconds", "gauge", "When the newest was written, in seconds since 1970.", snapshot),
        ("snapshot_bytes", "gauge", "Size of the newest.", of("snapshot_bytes")),
        ("snapshot_pause_seconds", "gauge", "The longest that the stream waited for one.", of("snapshot_pause_s")),
    )
    lines = [line for family in families for line in _family(*family)]
    return "\n".join([*lines, *measured(crew)]) + "\n"


def measured(crew: Crew) -> Iterator[str]:
    """The figures that roles offer themselves, and what watches the monitors."""
    families: dict[str, list[Measure]] = {}
    for owner in (*crew.roles, *crew.others):
        for measure in measures_of(owner):
            families.setdefault(measure.name, []).append(measure)
    for name, found in families.items():
        yield from _family(name, found[0].kind, found[0].says, ((dict(one.labels), one.value) for one in found))


def _watermarks(health: Iterable[Health], as_delay: bool) -> Iterator[Sample]:
    for one in health:
        for part, time_us in dict(one.watermarks_us).items():
            labels = {"role": one.name, "topic": part.topic, "partition": str(part.partition)}
            yield labels, ((one.known_us - time_us) if as_delay else time_us) / 1e6


def _stalled_for(health: Iterable[Health]) -> Iterator[Sample]:
    for one in health:
        since_s = one.stalled_since
        yield {"role": one.name}, time.monotonic() - since_s if since_s is not None else 0.0


def _family(name: str, kind: str, says: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP samestream_{name} {says}"
    yield f"# TYPE samestream_{name} {kind}"
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"samestream_{name}{f'{{{inside}}}' if inside else ''} {float(value):.15g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
