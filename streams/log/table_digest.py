"""A digest of what a table says: the same for the same values, however they are chunked, filed or compressed."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pyarrow as pa


def table_digest(table: pa.Table) -> str:
    """SHA-256, in hexadecimal, of names, types, nulls and values to the last bit, in order."""
    found = hashlib.sha256(str(len(table)).encode())
    for name in table.column_names:
        column = table[name].combine_chunks()
        found.update(f"\n{name}:{column.type}\n".encode())
        found.update(np.packbits(np.asarray(column.is_valid(), np.bool_)).tobytes())
        found.update(_values(column.drop_null()))
    return found.hexdigest()


def _values(column: pa.Array) -> bytes:  # type: ignore[type-arg]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        texts = [bytes(text) for text in column.cast(pa.binary()).to_pylist() if text is not None]
        return np.array([len(text) for text in texts], np.int64).tobytes() + b"".join(texts)
    if pa.types.is_primitive(column.type):
        return column.to_numpy(zero_copy_only=False).tobytes()
    return json.dumps(column.to_pylist(), default=repr).encode()
