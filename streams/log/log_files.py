"""Parquet files of the feature log: what columns all have, in which folders rows go, how a file is written."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from samestream.schemas.errors import FeatureLogError
from samestream.streams.log.manifest import LogFile
from samestream.streams.storage import Storage

_KEY_TYPES: dict[str, pa.DataType] = {
    "_partition": pa.int32(),
    "_offset": pa.int64(),
    "_known": pa.timestamp("us", tz="UTC"),
    "_key": pa.binary(),
}
KEY_SCHEMA: pa.Schema = pa.schema(_KEY_TYPES)
"""The columns every table of the log has: where the record lies, when the log learned it, and its key (may be null)."""

PartitionBy = Literal["auto", "date", "hour"]
THREADS = min(8, 2 * (os.cpu_count() or 1))  # more than cores: on a remote filesystem the threads mostly wait
_HOUR_US, _HOURS = 3_600_000_000, 24
_WHOLE = (pa.int32(), pa.int64())
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPARSE_ROWS = 1_000
"""With fewer rows an hour than this, a date that has more than two hours is not split up, where that is left to us."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def known_us_of(table: pa.Table) -> npt.NDArray[np.int64]:
    """When the log learned of each row, in microseconds since 1970, UTC."""
    values: npt.NDArray[np.int64] = table["_known"].cast(pa.int64()).to_numpy()
    return values


def date_folder(number: int) -> str:
    """The folder of a date, by its number of days since 1970."""
    return (_EPOCH + timedelta(days=number)).strftime("dt=%Y-%m-%d")


def split(table: pa.Table, partition_by: PartitionBy) -> list[tuple[str, pa.Table]]:
    """The rows by folder, in each by partition and offset."""
    hour = known_us_of(table) // _HOUR_US
    date = hour // _HOURS
    if partition_by == "date":
        by_hour = np.zeros(len(table), np.bool_)
    elif partition_by == "hour":
        by_hour = np.ones(len(table), np.bool_)
    else:
        _, of_row, rows = np.unique(date, return_inverse=True, return_counts=True)
        hours = np.unique(np.unique(hour) // _HOURS, return_counts=True)[1]
        by_hour = ((hours <= 2) | (rows >= _SPARSE_ROWS * hours))[of_row]
    bucket = np.where(by_hour, hour, date * _HOURS) * 2 + by_hour
    order = np.lexsort((table["_offset"].to_numpy(), table["_partition"].to_numpy(), bucket))
    table = table.replace_schema_metadata(None).combine_chunks().take(order)
    numbers, starts = np.unique(bucket[order], return_index=True)
    ends = [*starts[1:].tolist(), len(table)]
    return [
        (_folder(number // 2, bool(number % 2)), table.slice(start, end - start))
        for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=False)
    ]


def write_all(
    storage: Storage, folder: str, number: int, pieces: Sequence[tuple[str, pa.Table]]
) -> tuple[LogFile, ...]:
    """Write files, durably, that manifest ``number`` is to name.

    pieces : folder below the topic's, and rows in the order of partition and offset
    Raises FeatureLogError where they cannot be written.
    """
    with told(folder), ThreadPoolExecutor(THREADS) as pool:
        files = tuple(pool.map(lambda piece: _write(storage, folder, number, *piece), pieces))
        storage.sync(f"{folder}/{file.path}" for file in files)
    return files


@contextmanager
def told(where: str) -> Iterator[None]:
    """Say of an OSError what it means for the log."""
    try:
        yield
    except OSError as error:
        raise FeatureLogError(
            "the feature log cannot be written: nothing of this batch counts",
            where=where,
            found=error,
            hint=f"{remedy(error)}, then start again: it goes on where the log ends.",
        ) from error


def remedy(error: Exception) -> str:
    """What to do about a file that cannot be written, or read: the beginning of a hint."""
    number = getattr(error, "errno", None)
    if number in _NO_ROOM:
        return "make room"
    return "let this user read and write there" if number in _NOT_ALLOWED else "mend what is found"


def _write(storage: Storage, folder: str, number: int, dated: str, table: pa.Table) -> LogFile:
    sink = pa.BufferOutputStream()
    text = [field.name for field in table.schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)]
    whole = [field.name for field in table.schema if field.type in _WHOLE or pa.types.is_timestamp(field.type)]
    settings: dict[str, Any] = {
        "compression": "zstd",
        "use_dictionary": text,  # numbers seldom repeat
        "column_encoding": dict.fromkeys(whole, "DELTA_BINARY_PACKED"),  # smaller by a quarter, and quicker to read
    }
    pq.write_table(table, sink, **settings)
    content = sink.getvalue().to_pybytes()
    digest = hashlib.sha256(content).hexdigest()
    path = f"{dated}/{number:08d}-{digest[:16]}.parquet"
    storage.write(f"{folder}/{path}", content)
    known = known_us_of(table)
    return LogFile(path, len(table), len(content), digest, (int(known.min()), int(known.max())), offsets_of(table))


def offsets_of(table: pa.Table) -> Mapping[int, tuple[int, int]]:
    """Per partition the first offset and one beyond the last, of rows in order of partition and offset."""
    partitions, offsets = table["_partition"].to_numpy(), table["_offset"].to_numpy()
    numbers, starts = np.unique(partitions, return_index=True)
    ends = [*starts[1:].tolist(), len(partitions)]
    return {
        number: (int(offsets[start]), int(offsets[end - 1]) + 1)
        for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=True)
    }


def _folder(hour: int, by_hour: bool) -> str:
    moment = _EPOCH + timedelta(hours=hour)
    return moment.strftime("dt=%Y-%m-%d/hour=%H" if by_hour else "dt=%Y-%m-%d")
