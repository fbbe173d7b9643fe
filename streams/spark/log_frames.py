"""Topics of the feature log as DataFrames: each file read, checked and brought to the topic's one schema where the work is done.

Executors need samestream, and the same way to the log as the driver has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import FeatureLogError
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.manifest import Batch, LogFile

DataFrame = Any  # pyspark's, which is there only with the extra `spark`


def frame(
    session: Any,
    root: str,
    topic: str,
    ranges: Mapping[int, tuple[int, int]],
    columns: Sequence[str] | None = None,
    known_to_us: int | None = None,
) -> DataFrame:
    """The rows of a topic with offsets in some ranges by partition, known before an instant; in no order.

    root : of the feature log, as everyone sees it who works on this
    Raises FeatureLogError for a column that there is not, or where there are no rows to have columns.
    """
    log = FeatureLog(root)
    batches = log.batches(topic)
    if not batches:
        raise FeatureLogError(
            "the log holds nothing of a topic", where=topic, hint="let `samestream run MODULE log` catch up."
        )
    newest = batches[-1]
    schema = pa.schema([field for field in newest.schema if columns is None or field.name in {*columns, *_PLACE}])
    files = [(file, batch.ranges) for batch in batches for file in batch.files if file.meets(None, known_to_us)]
    wanted = [file for file, covered in files if _meets(file.offsets or covered, ranges)]
    told = Batch(0, (), {}, {}, schema, defaults=newest.defaults).to_json()
    tasks = [(json.dumps(vars(file)),) for file in wanted]
    read = _reader(root, topic, told, dict(ranges), known_to_us)
    shape = _spark_schema(schema)
    if not tasks:
        return session.createDataFrame([], shape)
    return session.createDataFrame(tasks, "file string").repartition(min(len(tasks), 10_000)).mapInArrow(read, shape)


_PLACE = ("_partition", "_offset", "_known")


def mapped(session: Any, root: str, topic: str, columns: Sequence[str], work: Callable[[pa.Table], str]) -> list[str]:
    """What ``work`` makes of each file of a topic, in the order of the log; where a file's rows stand in it, in offset order."""
    log = FeatureLog(root)
    batches = log.batches(topic)
    files = sorted(
        (file for batch in batches for file in batch.files), key=lambda file: (sorted(file.offsets.items()), file.path)
    )
    schema = pa.schema([field for field in batches[-1].schema if field.name in {*columns, *_PLACE}])
    told = Batch(0, (), {}, {}, schema, defaults=batches[-1].defaults).to_json()

    def one(numbered: tuple[int, str]) -> tuple[int, str]:
        stored = json.loads(numbered[1])
        return numbered[0], work(_decoded(root, topic, told, stored))

    tasks = [(number, json.dumps(vars(file))) for number, file in enumerate(files)]
    done = session.sparkContext.parallelize(tasks, max(1, len(tasks))).map(one).collect()
    return [text for _, text in sorted(done)]


def _reader(
    root: str, topic: str, told: bytes, ranges: dict[int, tuple[int, int]], known_to_us: int | None
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for text in batch["file"].to_pylist():
                table = _decoded(root, topic, told, json.loads(str(text)))
                partitions, offsets = table["_partition"].to_numpy(), table["_offset"].to_numpy()
                keep = np.zeros(len(table), np.bool_)
                for number, (start, end) in ranges.items():
                    keep |= (partitions == number) & (offsets >= start) & (offsets < end)
                if known_to_us is not None:
                    keep &= table["_known"].cast(pa.int64()).to_numpy() < known_to_us
                yield from table.filter(pa.array(keep)).to_batches(max_chunksize=10_000)

    return read


def _decoded(root: str, topic: str, told: bytes, stored: dict[str, Any]) -> pa.Table:
    shape = Batch.from_json(told)
    stored["known_us"], stored["offsets"] = tuple(stored["known_us"]), {}
    return FeatureLog(root).decoded(topic, replace(LogFile(**stored)), shape.schema, shape.defaults)


def _meets(covered: Mapping[int, tuple[int, int]], ranges: Mapping[int, tuple[int, int]]) -> bool:
    return any(
        number in ranges and start < ranges[number][1] and end > ranges[number][0]
        for number, (start, end) in covered.items()
    )


def _spark_schema(schema: pa.Schema) -> Any:
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema)
