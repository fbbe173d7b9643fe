"""The feature processor's journal, followed through the kernel while it grows: what should have been served, all the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from samestream.streams.deploy import provision
from samestream.streams.engine import journal, replay
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.columnar import ColumnarEngine, Vectors
from samestream.streams.engine.feature_task import NAME
from samestream.streams.engine.journal import Entry
from samestream.streams.engine.order import Batch
from samestream.streams.engine.replay import TopicSource
from samestream.streams.log.vector_replay import span
from samestream.streams.plan import Plan
from samestream.streams.transport import Partition, Transport, partition_of
from samestream.streams.wire.decode import Decoder


class JournalFollower:
    """Runs a plan from empty state over the log, as the journal says; belongs to one thread.

    after_sequence : what follows this entry is wanted; what state depends on is run before, and yielded too
    compared_sequence : the vectors of entries up to this one were compared before; at least `after_sequence`
    Raises RecoveryError while following, where the log does not hold what was applied.
    """

    def __init__(self, transport: Transport, plan: Plan, after_sequence: int, compared_sequence: int) -> None:
        self._plan, self._engine = plan, ColumnarEngine(plan)
        self._inputs = list(plan.inputs.values())
        counts = transport.topics()
        self._journal = Partition(plan.journal, partition_of(NAME.encode(), counts[plan.journal]))
        entries, next_offset = self._history(transport)
        chosen = span(plan, entries, None, None, after_sequence)
        before = entries[: chosen.state]
        self._clocks: Clocks = journal.clocks_after(before, plan.query_lag_us)
        self._partitions = [
            Partition(part.topic, number) for part in self._inputs for number in range(counts[part.topic])
        ]
        starts = transport.starts(self._partitions)
        positions = {**starts, **{part: end for part, end in journal.ends(before).items() if part in starts}}
        store = provision.store(transport, plan)
        self._source = TopicSource(transport, {part.topic: Decoder(part, store) for part in self._inputs}, positions)
        self._waiting = entries[chosen.state :]
        self.ends: dict[Partition, int] = journal.ends([one for one in entries if one.sequence <= compared_sequence])
        """Per partition of the inputs, how far the comparison has come."""
        self._reader = transport.reader()
        self._reader.assign({self._journal: next_offset})

    def _history(self, transport: Transport) -> tuple[list[Entry], int]:
        entries: list[Entry] = []
        next_offset = transport.starts([self._journal])[self._journal]
        for fetched in transport.read_all(self._journal.topic, {self._journal.partition: next_offset}):
            if fetched.partition == self._journal:
                entries += self._entries(fetched.keys, fetched.values)
                next_offset = int(fetched.offsets[-1]) + 1
        return entries, next_offset

    @staticmethod
    def _entries(keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> list[Entry]:
        mine = (value for key, value in zip(keys, values, strict=True) if key == NAME.encode())
        return [entry for entry in map(journal.parse, mine) if entry is not None]

    @property
    def behind(self) -> int:
        """How many entries are read and not yet run."""
        return len(self._waiting)

    def poll(self, timeout_s: float) -> None:
        """Read what the journal has grown by, after waiting at most so long for it."""
        for fetched in self._reader.fetch(10_000, timeout_s):
            self._waiting += self._entries(fetched.keys, fetched.values)

    def follow(self, most_records: int) -> Iterator[tuple[Entry, Batch, list[Vectors]]]:
        """Run waiting entries that cover about so many records."""
        chosen, count = 0, 0
        while chosen < len(self._waiting) and (count < most_records or not chosen):
            count += sum(part.end - part.start for part in self._waiting[chosen].ranges)
            chosen += 1
        taken, self._waiting = self._waiting[:chosen], self._waiting[chosen:]
        batches = replay.batches(
            taken, self._inputs, self._partitions, self._source, self._clocks, self._plan.fingerprint
        )
        for entry, batch in batches:
            vectors = self._engine.process(batch)
            for part, end in journal.ends([entry]).items():
                self.ends[part] = max(end, self.ends.get(part, 0))
            yield entry, batch, vectors

    def close(self) -> None:
        """Release the readers."""
        self._reader.close()
        self._source.close()
