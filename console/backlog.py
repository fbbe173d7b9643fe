"""What is in the topics and not yet read: the lag of a processor, control records left out."""

from __future__ import annotations

from collections.abc import Mapping

from samestream.schemas.errors import TransportError
from samestream.streams.transport import Partition, Transport, read_until

TAIL = 100
"""Up to so many offsets, a gap is read to see whether records are in it."""


def gaps(transport: Transport, positions: Mapping[Partition, int]) -> dict[Partition, int]:
    """Offsets between each position and the partition's stable end; those of control records count, too."""
    ends = transport.ends(positions)
    return {partition: max(0, ends[partition].stable - position) for partition, position in positions.items()}


def backlog(transport: Transport, positions: Mapping[Partition, int]) -> int:
    """How many records lie behind these positions.

    Transactions end with control records, which no position passes. Small gaps are therefore read, and count what
    they really hold; large ones count their offsets.
    """
    found = gaps(transport, positions)
    small = {part: positions[part] + gap for part, gap in found.items() if 0 < gap <= TAIL}
    large = sum(gap for gap in found.values() if gap > TAIL)
    if not small:
        return large
    reader = transport.reader()
    try:
        reader.assign({part: positions[part] for part in small})
        return large + sum(len(fetched) for fetched in read_until(reader, small, patience_s=5.0))
    except TransportError:  # the topic moved under us, or a partition is away: the offsets are the best answer
        return sum(found.values())
    finally:
        reader.close()
