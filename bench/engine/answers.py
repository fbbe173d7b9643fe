"""Whether what a system has written is right: every answer against the oracle, none missing and none twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from events import START_US, Trades
from numpy.typing import NDArray

from samestream.schemas import avro
from samestream.schemas.expressions import Kind
from samestream.streams.plan import Input
from samestream.streams.transport import Transport
from samestream.streams.wire.avro_values import column_kind
from samestream.streams.wire.decode import Decoder
from samestream.streams.wire.schema_store import SchemaStore

TOLERANCE = 1e-9  # of sums and means, relative: sliding windows are added up tile by tile


@dataclass(frozen=True)
class Verdict:
    """equal : whether every answer is right, and they are of the first events of each partition, each once."""

    answers: int
    wrong: int
    twice: int
    missing: int

    @property
    def equal(self) -> bool:
        return self.answers > 0 and not (self.wrong or self.twice or self.missing)

    def __str__(self) -> str:
        if self.equal:
            return f"{self.answers:,} answers, all equal"
        return f"{self.answers:,} answers: {self.wrong:,} wrong, {self.twice:,} twice, {self.missing:,} missing"


def judge(
    transport: Transport,
    topic: str,
    schema: avro.Schema,
    names: tuple[str, str],
    trades: Trades,
    right: dict[str, NDArray[Any]],
    partitions: int,
    whole: bool,
) -> Verdict:
    """Read what was written and compare it.

    names : how the fields of account and event time are called
    whole : whether every event must be answered; else the answers must be of the first events of each partition
    """
    numbers, columns = _read(transport, topic, schema, names, trades, right)
    known = (numbers >= 0) & (numbers < trades.count)
    counts = np.bincount(numbers[known], minlength=trades.count)
    rows = numbers[known]
    wrong = np.zeros(len(rows), np.bool_)
    for name, expected in right.items():
        found = columns[name][known]
        if expected.dtype == np.int64:
            wrong |= found != expected[rows]
            continue
        wanted = expected[rows]
        near = np.abs(found - wanted) <= TOLERANCE * np.abs(wanted)
        wrong |= ~(near | (np.isnan(found) & np.isnan(wanted)))
    missing = 0
    partition = trades.partitions(partitions)
    for number in range(partitions):
        answered = counts[partition == number] > 0
        last = len(answered) if whole else (int(np.flatnonzero(answered)[-1]) + 1 if answered.any() else 0)
        missing += int(np.count_nonzero(~answered[:last]))
    return Verdict(len(numbers), int(wrong.sum()) + int((~known).sum()), int(np.maximum(counts - 1, 0).sum()), missing)


def _read(
    transport: Transport,
    topic: str,
    schema: avro.Schema,
    names: tuple[str, str],
    trades: Trades,
    right: dict[str, NDArray[Any]],
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """The number of the event that each answer is of, and the answered columns, NaN for null."""
    account, at = names
    kinds = {name: column_kind(schema, name)[0] for name in (account, at, *right)}
    read = Input("Answer", topic, schema, kinds, frozenset(right), account, "")
    decoder = Decoder(read, SchemaStore(None, "", [schema]))
    parts: dict[str, list[NDArray[Any]]] = {name: [np.empty(0)] for name in (at, *right)}
    for fetched in transport.read_all(topic):
        decoded = decoder.decode(fetched, 0)
        if decoded.dead.any():
            raise RuntimeError(f"{topic}: an answer that is no answer: {next(iter(decoded.deaths.items()))}")
        for name, chunks in parts.items():
            column = decoded.columns[name]
            values = column.values
            chunks.append(np.where(column.valid, values, np.nan) if kinds[name] is Kind.FLOAT else values)
    joined = {name: np.concatenate(chunks[1:] or chunks) for name, chunks in parts.items()}
    return (joined.pop(at).astype(np.int64) - START_US) // trades.step_us, joined
