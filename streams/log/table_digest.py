"""A digest of what a table says: the same for the same values, however they are chunked, filed or compressed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Chunks = Callable[[str], Iterable[Any]]


def table_digest(table: pa.Table) -> str:
    """SHA-256, in hexadecimal, of names, types, nulls and values to the last bit, in order."""
    return _digest(len(table), table.schema, lambda name: table[name].chunks)


def file_digest(path: Path) -> str:
    """`table_digest` of what a Parquet file holds, of which no more is in memory than one column of a row group."""
    with pq.ParquetFile(path) as file:

        def chunks(name: str) -> Iterator[pa.Array[Any]]:
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group, [name], use_threads=False)[name].chunks

        return _digest(file.metadata.num_rows, file.schema_arrow, chunks)


def _digest(rows: int, schema: pa.Schema, chunks: Chunks) -> str:
    found = hashlib.sha256(str(rows).encode())
    for field in schema:
        found.update(f"\n{field.name}:{field.type}\n".encode())
        for part in _validity(chunks(field.name)):
            found.update(part)
        for part in _values(field.type, partial(chunks, field.name)):
            found.update(part)
    return found.hexdigest()


def _validity(chunks: Iterable[pa.Array[Any]]) -> Iterator[bytes]:
    """Which rows are there, eight in a byte, wherever the chunks end."""
    left = np.empty(0, np.bool_)
    for chunk in chunks:
        bits = np.concatenate([left, np.asarray(chunk.is_valid(), np.bool_)])
        whole = len(bits) // 8 * 8
        yield np.packbits(bits[:whole]).tobytes()
        left = bits[whole:]
    yield np.packbits(left).tobytes()


def _values(type: pa.DataType, chunks: Callable[[], Iterable[pa.Array[Any]]]) -> Iterator[bytes]:
    """The values that are there, one after the other; of texts first how long each is."""
    if pa.types.is_string(type) or pa.types.is_binary(type):
        for chunk in chunks():
            lengths = [len(text) for text in chunk.drop_null().cast(pa.binary()).to_pylist() if text is not None]
            yield np.array(lengths, np.int64).tobytes()
        for chunk in chunks():
            yield b"".join(text for text in chunk.drop_null().cast(pa.binary()).to_pylist() if text is not None)
    elif pa.types.is_timestamp(type):
        for chunk in chunks():
            yield chunk.drop_null().cast(pa.int64()).to_numpy(zero_copy_only=False).tobytes()
    elif pa.types.is_primitive(type):
        for chunk in chunks():
            yield chunk.drop_null().to_numpy(zero_copy_only=False).tobytes()
    else:  # as JSON of all of them at once would be
        before = "["
        for chunk in chunks():
            for value in chunk.drop_null().to_pylist():
                yield f"{before}{json.dumps(value, default=repr)}".encode()
                before = ", "
        yield b"[]" if before == "[" else b"]"
