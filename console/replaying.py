"""The served vectors computed again, for `samestream replay`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from samestream.schemas.avro import Codec
from samestream.streams.feature_log import FeatureLog
from samestream.streams.feature_task import VectorEncoder
from samestream.streams.plan import Plan
from samestream.streams.transport import Outgoing, Transport, send_all
from samestream.streams.vector_replay import Progress, replayed


@dataclass
class Replayed:
    """Vectors of all models as the records that were served, and what it took."""

    plan: Plan
    records: dict[str, list[Outgoing]] = field(default_factory=dict)
    events: int = 0
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """How many vectors."""
        return sum(map(len, self.records.values()))

    def send(self, transport: Transport, topic: str) -> None:
        """Write the records to a topic."""
        send_all(transport, (record._replace(topic=topic) for records in self.records.values() for record in records))

    def write(self, path: Path) -> None:
        """Write the vectors to a Parquet file, in one step: a torn file never appears under the name."""
        rows = []
        for name, records in self.records.items():
            codec = Codec(self.plan.models[name].vector_schema)
            rows += [{"model": name, **codec.decode(record.value)} for record in records if record.value is not None]
        temporary = path.with_name(f".{path.name}.part")
        pq.write_table(pa.Table.from_pylist(rows), temporary, compression="zstd")
        temporary.replace(path)


def vectors_of(
    plan: Plan,
    transport: Transport,
    log: FeatureLog,
    *,
    from_us: int | None = None,
    to_us: int | None = None,
    on_progress: Progress | None = None,
) -> Replayed:
    """Replay the whole journal from the feature log, and keep the vectors with trigger event time in [from_us, to_us)."""
    started = time.monotonic()
    encoder = VectorEncoder(plan)
    out = Replayed(plan, {name: [] for name in plan.models})
    for entry, _, every in replayed(plan, transport, log, on_progress):
        for vectors in every:
            chosen = vectors.event_time_us >= (from_us if from_us is not None else -(2**62))
            chosen &= vectors.event_time_us < (to_us if to_us is not None else 2**62)
            kept = out.records[vectors.model.name]
            kept += [record for record, keep in zip(encoder.records(vectors), chosen.tolist(), strict=True) if keep]
        out.events += sum(part.end - part.start for part in entry.ranges)
    out.seconds = time.monotonic() - started
    return out
