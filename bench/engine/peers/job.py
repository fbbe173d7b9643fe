"""The job as a Python peer does it: fastavro, and a dictionary of windows. Nothing of samestream is imported here.

For each event, what was known of its account just before: number, sum, least, greatest and mean of the prices of the
account's earlier events in the same five minutes. Events of an account come in the order of time.
"""

from __future__ import annotations

import io
import json
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro

LENGTH_US = 300_000_000
HEADER_BYTES = 10  # of Avro's single-object encoding


@dataclass(frozen=True)
class Given:
    """What the benchmark tells a peer: the addresses, and the schemas as JSON files beside each other."""

    bootstrap: str
    source: str
    target: str
    folder: Path
    partitions: int

    @classmethod
    def parse(cls) -> Given:
        bootstrap, source, target, folder, partitions = sys.argv[1:6]
        return cls(bootstrap, source, target, Path(folder), int(partitions))


class Codecs:
    """Events from bytes, answers to bytes."""

    def __init__(self, folder: Path) -> None:
        self._event = fastavro.parse_schema(json.loads((folder / "event.avsc").read_text()))
        self._answer = fastavro.parse_schema(json.loads((folder / "answer.avsc").read_text()))
        self._header = bytes.fromhex((folder / "answer.header").read_text())

    def read(self, value: bytes) -> dict[str, Any]:
        """An event; times are left as whole microseconds."""
        return fastavro.schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), self._event)

    def write(self, answer: dict[str, Any]) -> bytes:
        """An answer."""
        out = io.BytesIO()
        out.write(self._header)
        fastavro.schemaless_writer(out, self._answer, answer)
        return out.getvalue()


class Windows:
    """The present window of every account."""

    def __init__(self) -> None:
        self._held: dict[str, list[Any]] = {}

    def answer(self, account: str, at: int, price: float) -> dict[str, Any]:
        """What was known before this event, which is then added."""
        held, answer = step(self._held.get(account), account, at, price)
        self._held[account] = held
        return answer


def step(held: list[Any] | None, account: str, at: int, price: float) -> tuple[list[Any], dict[str, Any]]:
    """The window after an event, and what was known before it. A window is [start, count, sum, least, most]."""
    start = at - at % LENGTH_US
    if held is None or held[0] != start:
        answer = {"account": account, "at": at, "trades": 0, "total": None, "least": None, "most": None, "mean": None}
        return [start, 1, price, price, price], answer
    _, count, total, least, most = held
    answer = {
        "account": account,
        "at": at,
        "trades": count,
        "total": total,
        "least": least,
        "most": most,
        "mean": total / count,
    }
    held[1] = count + 1
    held[2] = total + price
    if price < least:
        held[3] = price
    if price > most:
        held[4] = price
    return held, answer


_STATE = struct.Struct("<qqddd")


def packed(held: list[Any]) -> bytes:
    """A window as forty bytes, where a store wants bytes."""
    return _STATE.pack(*held)


def unpacked(data: bytes) -> list[Any]:
    """The window of forty bytes."""
    return list(_STATE.unpack(data))
