"""Small topics of a feature log, made of numbers: for tests of the log itself."""

from datetime import UTC, datetime

import pyarrow as pa

from samestream.streams.log.feature_log import KEY_SCHEMA, FeatureLog

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
START_US = int(datetime(2013, 2, 8, tzinfo=UTC).timestamp()) * 1_000_000


def table(rows, **columns):
    """Rows are (partition, offset, known_us); keys are named after offsets, modulo 10."""
    partitions, offsets, known = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    keys = [b"k%d" % (offset % 10) for offset in offsets]
    arrays = [
        pa.array(values, field.type)
        for values, field in zip([partitions, offsets, known, keys], KEY_SCHEMA, strict=True)
    ]
    return pa.table([*arrays, *map(pa.array, columns.values())], names=[*KEY_SCHEMA.names, *columns])


def grown(root, batches=40, step_us=10 * 60 * 1_000_000, rows=5):
    """A topic of two partitions, a batch every ten minutes."""
    log = FeatureLog(root)
    writer = log.writer("t")
    for number in range(batches):
        at = START_US + number * step_us
        part = [(p, o, at + o) for p in range(2) for o in range(number * rows, (number + 1) * rows)]
        writer.append(
            table(part, x=[float(o) for _, o, _ in part]),
            dict.fromkeys(range(2), (number * rows, (number + 1) * rows)),
        )
    return log
