"""Follows an app's journal: how far every processor has come, without asking the processors."""

from __future__ import annotations

from collections.abc import Mapping

from samestream.streams.engine import journal
from samestream.streams.engine.journal import Balance
from samestream.streams.transport import Partition, Transport


class JournalTail:
    """What the journal has said so far. `poll` reads what is new.

    balances : per processor and topic, what became of the events
    ends : per processor, the next offset of every partition
    results : per processor, how many vectors, predictions, outcomes or incidents it wrote
    """

    def __init__(self, transport: Transport, topic: str) -> None:
        self._transport, self._topic = transport, topic
        self._next: dict[int, int] = {}
        self.balances: dict[str, dict[str, Balance]] = {}
        self.ends: dict[str, dict[Partition, int]] = {}
        self.results: dict[str, int] = {}

    def poll(self) -> None:
        """Read the entries committed since the last call."""
        for fetched in self._transport.read_all(self._topic, self._next):
            self._next[fetched.partition.partition] = int(fetched.offsets[-1]) + 1
            for value in fetched.values:
                self._note(journal.parse(value))

    def _note(self, entry: journal.Entry | None) -> None:
        if entry is None:
            return
        balances = self.balances.setdefault(entry.processor, {})
        for topic, part in journal.balance([entry]).items():
            balances[topic] = balances.get(topic, Balance()).plus(part)
        self.ends.setdefault(entry.processor, {}).update(journal.ends([entry]))
        self.results[entry.processor] = self.results.get(entry.processor, 0) + entry.emitted

    def read(self, processor: str, topic: str) -> int:
        """How many events of a topic a processor has judged."""
        return self.balances.get(processor, {}).get(topic, Balance()).read

    def furthest(self) -> Mapping[Partition, int]:
        """Per partition the next offset of the processor that is furthest."""
        found: dict[Partition, int] = {}
        for ends in self.ends.values():
            for partition, end in ends.items():
                found[partition] = max(end, found.get(partition, 0))
        return found
