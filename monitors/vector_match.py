"""Vectors as they should have been served and as they were, matched while both are read: what is equal is let go of at once.

So memory holds what differs, and not the history. Both sides come in order of known time, per partition of the features topic,
by which they find together again after a vector that is missing, or too many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from samestream.streams.transport import Fetched, Partition

Trigger = tuple[str, int, int]
Served = tuple[bytes | None, bytes | None, int]
"""Key, value, known time."""
Expected = tuple[Served, Trigger, bool]
"""With its trigger, and whether it must have been served."""


def trigger_of(record: Mapping[str, Any]) -> Trigger:
    """The position of the event that a vector, or what was made of it, is of: topic, partition and offset."""
    return record["trigger_topic"], record["trigger_partition"], record["trigger_offset"]


def bits(value: Any) -> Any:
    """Floats by their bits, so that -0.0 and 0.0 differ as they do in the record."""
    return value.hex() if isinstance(value, float) else value


class VectorMatch:
    """One model's vectors. What is left in ``ours`` and ``theirs`` in the end, per partition, found no equal.

    misplaced_us : known times of those that were served after one that was known later
    served : what was, as it is read; pulled when it is needed
    kept : what of a record is compared: its value, or None where it is of no interest
    trigger_of : of a value
    """

    def __init__(
        self,
        partitions: int,
        served: Iterator[Fetched],
        kept: Callable[[bytes | None, bytes | None], bytes | None],
        trigger_of: Callable[[bytes], Trigger],
    ) -> None:
        self.ours: list[list[Expected]] = [[] for _ in range(partitions)]
        self.theirs: list[list[Served]] = [[] for _ in range(partitions)]
        self.equal, self.newest_known_us = 0, 0
        self.misplaced_us: list[int] = []
        self._reached = [-(2**62)] * partitions
        self._served, self._kept, self._trigger_of = served, kept, trigger_of
        self._expected: list[deque[Expected]] = [deque() for _ in range(partitions)]
        self._held: list[deque[Served]] = [deque() for _ in range(partitions)]
        self._matched: dict[Partition, bytearray] = {}
        self._is_whole = False

    def expect(self, place: int, expected: Expected) -> None:
        """Take the next vector of a partition."""
        self._expected[place].append(expected)

    def match(self) -> None:
        """Let go of what is equal so far, having read as much of what was served as that takes."""
        for place, expected in enumerate(self._expected):
            while expected:
                if self._held[place]:
                    self._step(place)
                elif not self._pull():
                    break

    def finish(self) -> None:
        """Read the rest of what was served."""
        self.match()
        for place, expected in enumerate(self._expected):
            self.ours[place] += expected
        self._take_rest()
        while self._pull():
            self._take_rest()

    @property
    def misplaced(self) -> int:
        """How many were served after one that was known later."""
        return len(self.misplaced_us)

    def was_matched(self, trigger: Trigger) -> bool:
        """Whether a vector of the trigger was equal on both sides."""
        bits, offset = self._matched.get(Partition(*trigger[:2]), b""), trigger[2]
        return offset // 8 < len(bits) and bool(bits[offset // 8] >> offset % 8 & 1)

    def _take_rest(self) -> None:
        for place, held in enumerate(self._held):
            self.theirs[place] += held
            held.clear()

    def _step(self, place: int) -> None:
        expected, held = self._expected[place], self._held[place]
        (right, trigger, required), found = expected[0], held[0]
        if right == found:
            self.equal += 1
            self._note(trigger)
            expected.popleft()
            held.popleft()
            return
        together = self._trigger_of(found[1] or b"") == trigger or right[2] == found[2]
        if together or right[2] < found[2]:
            expected.popleft()
            # of a batch of another definition it may be missing
            if required or together:
                self.ours[place].append((right, trigger, required))
        if together or right[2] > found[2]:
            held.popleft()
            self.theirs[place].append(found)

    def _note(self, trigger: Trigger) -> None:
        bits = self._matched.setdefault(Partition(*trigger[:2]), bytearray())
        byte = trigger[2] // 8
        if byte >= len(bits):
            bits.extend(bytes(max(byte + 1 - len(bits), 4096)))
        bits[byte] |= 1 << trigger[2] % 8

    def _pull(self) -> bool:
        """Read some more of what was served; whether there was any."""
        if self._is_whole:
            return False
        fetched = next(self._served, None)
        if fetched is None:
            self._is_whole = True
            return False
        self.newest_known_us = max(self.newest_known_us, int(fetched.known_us[-1]))
        place = fetched.partition.partition
        held = self._held[place]
        for key, value, known_us in zip(fetched.keys, fetched.values, fetched.known_us.tolist(), strict=True):
            if (found := self._kept(key, value)) is not None:
                if known_us < self._reached[place]:
                    self.misplaced_us.append(known_us)
                self._reached[place] = max(self._reached[place], known_us)
                held.append((key, found, known_us))
        return True
