"""The events, the same each time, and what is right: computed event by event in plain Python, from the numbers alone."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np
from numpy.typing import NDArray

from samestream.schemas import avro
from samestream.streams.transport import Outgoing, Transport, partition_of

KEYS, CHUNK = 1_000, 10_000
START_US = 1_767_225_600_000_000  # 2026-01-01
NOTE = "a note of some thirty letters"
PEER_ANSWER: avro.Schema = {
    "type": "record",
    "name": "Answer",
    "namespace": "bench",
    "fields": [
        {"name": "account", "type": "string"},
        {"name": "at", "type": "long"},
        {"name": "trades", "type": "long"},
        *({"name": name, "type": ["null", "double"]} for name in ("total", "least", "most", "mean")),
    ],
}
"""What the peers write for each event; samestream's vectors hold more: the trigger's position and a fingerprint."""


@dataclass(frozen=True)
class Trades:
    """So many events, ``step_us`` apart."""

    count: int
    step_us: int
    account: NDArray[np.int64]
    price: NDArray[np.float64]

    @classmethod
    def drawn(cls, count: int, step_us: int = 1_000) -> Trades:
        """Accounts and prices at random, but the same each time."""
        rng = np.random.default_rng(1)
        return cls(count, step_us, rng.integers(0, KEYS, count), rng.uniform(0, 100, count))

    @property
    def at_us(self) -> NDArray[np.int64]:
        """Event times."""
        return START_US + np.arange(self.count, dtype=np.int64) * self.step_us

    def partitions(self, count: int) -> NDArray[np.int64]:
        """Where each event lies."""
        of_key = np.array([partition_of(b"account-%04d" % key, count) for key in range(KEYS)])
        found: NDArray[np.int64] = of_key[self.account]
        return found

    def records(self, schema: avro.Schema, topic: str, first: int, last: int) -> Iterator[Outgoing]:
        """Events as Kafka records, each known when it happened."""
        parsed, header = fastavro.parse_schema(schema), avro.Codec(schema).header
        names, prices = self.account[first:last].tolist(), self.price[first:last].tolist()
        for row, (account, price) in enumerate(zip(names, prices, strict=True), first):
            at_us = START_US + row * self.step_us
            name = f"account-{account:04}"
            value: dict[str, Any] = {
                "account": name,
                "symbol": "SAME",
                "venue": "XNAS",
                "price": price,
                "fee": price / 100 if row % 4 else None,
                "quantity": row % 10_000,
                "order": row,
                "is_buy": row % 2 == 0,
                "note": NOTE,
                "at": at_us,
            }
            out = io.BytesIO()
            out.write(header)
            fastavro.schemaless_writer(out, parsed, value)
            yield Outgoing(topic, name.encode(), out.getvalue(), at_us)

    def fill(self, transport: Transport, schema: avro.Schema, topic: str) -> int:
        """Write them all to the topic; how long the last one is, in bytes."""
        writer, size = transport.writer(), 0
        for first in range(0, self.count, CHUNK):
            records = list(self.records(schema, topic, first, min(first + CHUNK, self.count)))
            writer.send(records)
            size = len(records[-1].value or b"")
        writer.close()
        return size


def tumbling(trades: Trades, length_us: int = 300_000_000) -> dict[str, NDArray[Any]]:
    """What is right: per event, of the account's earlier events in the same window; NaN where there is none."""
    found = {name: np.full(trades.count, np.nan) for name in ("total", "least", "most", "mean")}
    count = np.zeros(trades.count, np.int64)
    held: dict[int, list[Any]] = {}
    for row, (account, price, at) in enumerate(
        zip(trades.account.tolist(), trades.price.tolist(), trades.at_us.tolist(), strict=True)
    ):
        window = at // length_us
        state = held.get(account)
        if state is None or state[0] != window:
            held[account] = [window, 1, price, price, price]
            continue
        count[row] = state[1]
        found["total"][row], found["least"][row], found["most"][row] = state[2:]
        found["mean"][row] = state[2] / state[1]
        state[1] += 1
        state[2] += price
        state[3], state[4] = min(state[3], price), max(state[4], price)
    return {"trades": count, **found}


def sliding(trades: Trades, windows: dict[str, tuple[int, int]]) -> dict[str, NDArray[Any]]:
    """What is right for windows ``[floor(t - length, tile), t)``, by name (length_us, tile_us)."""
    found: dict[str, NDArray[Any]] = {}
    at = trades.at_us
    for name, (length_us, tile_us) in windows.items():
        count, total = np.zeros(trades.count, np.int64), np.full(trades.count, np.nan)
        for account in range(KEYS):
            rows = np.flatnonzero(trades.account == account)
            times, sums = at[rows], np.concatenate([[0.0], np.cumsum(trades.price[rows])])
            first = np.searchsorted(times, (times - length_us) // tile_us * tile_us)
            last = np.searchsorted(times, times)
            count[rows] = last - first
            total[rows] = np.where(last > first, sums[last] - sums[first], np.nan)
        found[f"trades_{name}"], found[f"total_{name}"] = count, total
        found[f"mean_{name}"] = total / np.maximum(count, 1)
    return found


def schema_files(event: avro.Schema) -> dict[str, str]:
    """What the peers need to know, by file name."""

    def plain(part: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in part.items() if name != "logicalType"}

    # without logical types, so that times are read as the numbers they are: making a datetime of each takes longer
    return {
        "event.avsc": json.dumps(json.loads(json.dumps(event), object_hook=plain)),
        "answer.avsc": json.dumps(PEER_ANSWER),
        "answer.header": avro.Codec(PEER_ANSWER).header.hex(),
    }
