"""What has come of one partition and is not delivered yet: record batches as they lie in the answers that brought them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from samestream.streams.kafka.direct import batches
from samestream.streams.kafka.direct.batches import Columns, Head

_LOW_BYTES = 512 * 1024  # of a partition of which less is here, more is asked for


class _Waiting(NamedTuple):
    """A batch that is not decoded yet, in the answer that brought it; without a head, what holds no committed record.

    next_offset : where the partition goes on after it
    """

    data: memoryview
    head: Head | None
    next_offset: int


@dataclass
class Course:
    """How far a partition has come.

    asked : from where the next request fetches
    first : the offset from which on records are wanted: an answer may begin before it
    rest : decoded records that went over a limit
    """

    asked: int
    first: int
    waiting: deque[_Waiting] = field(default_factory=deque)
    rest: Columns | None = None
    under_way: bool = False
    not_before_s: float = 0.0
    failing_since_s: float | None = None

    @property
    def count(self) -> int:
        """How many records are here, at most."""
        here = sum(waiting.head.records for waiting in self.waiting if waiting.head is not None)
        return here + (len(self.rest) if self.rest is not None else 0)

    @property
    def is_low(self) -> bool:
        """Whether more should be asked for."""
        heads = (waiting.head for waiting in self.waiting)
        return self.rest is None and sum(head.end - head.begin for head in heads if head is not None) < _LOW_BYTES

    def take_in(self, data: memoryview, wanted: Sequence[Head], next_offset: int) -> None:
        """Keep what an answer brought."""
        self.waiting.extend(_Waiting(data, head, head.last + 1) for head in wanted if head.last >= self.asked)
        if not wanted or wanted[-1].last + 1 < next_offset:
            self.waiting.append(_Waiting(data, None, next_offset))
        self.asked = next_offset

    def detach(self) -> None:
        """Copy what waits, so that it does not keep whole answers alive."""
        for _ in range(len(self.waiting)):
            data, head, next_offset = self.waiting.popleft()
            if head is not None:
                data = memoryview(bytearray(data[head.begin : head.end]))
                head = head._replace(begin=0, end=len(data))
            self.waiting.append(_Waiting(data, head, next_offset))

    def passed(self) -> int | None:
        """Where the partition is once it is known that no record comes before; None where one may be here."""
        there = None
        while self.rest is None and self.waiting and self.waiting[0].head is None:
            there = self.waiting.popleft().next_offset
        return there

    def decode(self, most: int, check: bool) -> Columns:
        """The next records, as many at most: whole batches, unless one alone is more. Raises CorruptBatchError."""
        if self.rest is None:
            wanted, count = list[tuple[memoryview, Head]](), 0
            while self.waiting:
                data, head, _ = self.waiting[0]
                if head is None:
                    if len(self.waiting) == 1:
                        break  # nothing else says where the partition goes on
                elif wanted and count + head.records > most:
                    break
                else:
                    wanted.append((data, head))
                    count += head.records
                self.waiting.popleft()
            self.rest = batches.columns(wanted, self.first, check)
        found = self.rest.between(0, most)
        self.rest = self.rest.between(most, len(self.rest)) if most < len(self.rest) else None
        return found
