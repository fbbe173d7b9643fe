"""Rewrites of a topic's log: files replaced by others, all in one step that a reader sees whole or not at all.

Compaction puts small files together, retention cuts off the oldest offsets, erasure takes what a person's rows say. Each
writes its new files first and creates a manifest last, which is a new base: it names every file that counts. Batches that
were appended meanwhile are taken along. Of two rewrites at once, one begins again.

What was replaced stays until `clear` removes it, so that whoever began to read goes on. It removes exactly what no reader
of the present can name: a file is named first by the manifest of its own number, so once a rewrite has a number at least
as high, a file that neither it nor a later manifest names is never named again, whoever was about to.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs

from samestream.schemas.errors import FeatureLogError
from samestream.streams.log.feature_log import ERASED, FeatureLog, manifest_path
from samestream.streams.log.log_files import told, write_all
from samestream.streams.log.manifest import Batch, Kind, LogFile

TARGET_BYTES = 64_000_000
"""Files of this size are not put together any further, compressed as they are."""
_FEW = 4
"""So many files of a folder are not worth the trouble."""
_ATTEMPTS = 10
_DRAFT_S = 3600.0
"""A draft that nobody has put in its place for so long is that of a writer who was killed."""


@dataclass(frozen=True)
class Rewritten:
    """What a rewrite did to a topic: rows and files that are gone, in force before and after; 0 if nothing was to do."""

    topic: str
    files_before: int = 0
    files_after: int = 0
    rows: int = 0
    number: int | None = None


class _Change(NamedTuple):
    """Paths of files that go, and the rows by folder that come in their place; first offsets by partition, where they move."""

    gone: frozenset[str]
    pieces: Sequence[tuple[str, pa.Table]]
    rows: int
    starts: dict[int, int]
    schema: pa.Schema | None = None


@dataclass(eq=False)
class _State:
    """A topic as it is at a manifest."""

    log: FeatureLog
    topic: str
    batches: Sequence[Batch]
    files: Sequence[LogFile] = field(default_factory=tuple)

    @property
    def newest(self) -> Batch:
        return self.batches[-1]

    def read(self, files: Iterable[LogFile]) -> pa.Table:
        """Their rows, by partition and offset, in the topic's present schema."""
        schema = self.newest.schema
        parts = [self.log.decoded(self.topic, file, schema, self.newest.defaults) for file in files]
        table = pa.concat_tables([schema.empty_table(), *parts]).combine_chunks()
        return table.take(np.lexsort((table["_offset"].to_numpy(), table["_partition"].to_numpy())))


def compact(log: FeatureLog, topic: str, target_bytes: int = TARGET_BYTES) -> Rewritten:
    """Put small files of a topic together: those of an hour, and all of a day that is over and small."""

    def change(state: _State) -> _Change:
        groups = _to_join(state.files, target_bytes)
        pieces = [(folder, state.read(group)) for folder, group in groups]
        joined = [file for _, group in groups for file in group]
        gone = frozenset(file.path for file in joined)
        return _Change(gone, pieces, sum(file.rows for file in joined), {})

    return _rewrite(log, topic, "compact", change, even_if_nothing=True)


def cut(log: FeatureLog, topic: str, starts: Mapping[int, int]) -> Rewritten:
    """Take away the oldest offsets: by partition, those below its start. So offsets stay without gaps.

    See `cut_offsets`.
    """

    def change(state: _State) -> _Change:
        gone: set[str] = set()
        pieces, rows = [], 0
        for file in state.files:
            if file.offsets and all(start >= starts.get(number, 0) for number, (start, _) in file.offsets.items()):
                continue
            table = state.read([file])
            keep = table["_offset"].to_numpy() >= _by_partition(table, starts)
            if keep.all():
                continue
            gone.add(file.path)
            rows += int((~keep).sum())
            if keep.any():
                pieces.append((file.path.rpartition("/")[0], table.filter(pa.array(keep))))
        held = log.ranges(topic)
        moved = {number: start for number, start in starts.items() if number in held and start > held[number][0]}
        return _Change(frozenset(gone), pieces, rows, moved)

    return _rewrite(log, topic, "retain", change)


def cut_offsets(log: FeatureLog, topic: str, before_us: int) -> dict[int, int]:
    """By partition, the first offset of a row known at an instant or later; only where it is not the first one already.

    Cut off there, the log loses no row that it learned of at that instant or later.
    """
    kept = log.read(topic, ["_partition", "_offset"], known_from_us=before_us)
    partitions, offsets = kept["_partition"].to_numpy(), kept["_offset"].to_numpy()
    numbers, at = np.unique(partitions, return_index=True)
    first = dict(zip(numbers.tolist(), offsets[at].tolist(), strict=True))
    return {
        number: max(start, first.get(number, end))
        for number, (start, end) in log.ranges(topic).items()
        if first.get(number, end) > start
    }


Erase = Callable[[pa.Table], tuple[pa.Table, npt.NDArray[np.bool_]]]
"""Rows of a topic with what is to be erased made null, and which rows were touched."""


def erase(log: FeatureLog, topic: str, erased: Erase) -> Rewritten:
    """Rewrite the files with rows that say something of a person; the rows stay, marked by the column `ERASED`."""

    def change(state: _State) -> _Change:
        schema = state.newest.schema
        if ERASED not in schema.names:
            schema = schema.append(pa.field(ERASED, pa.bool_()))
        gone, pieces, rows = [], [], 0
        for file in state.files:
            table = state.read([file])
            made, touched = erased(table)
            if not touched.any():
                continue
            marked = table[ERASED].to_pylist() if ERASED in table.column_names else []
            before = np.array([mark is True for mark in marked] or [False] * len(table), np.bool_)
            mark = pa.array(np.asarray(touched | before, np.bool_))
            if ERASED in made.column_names:
                made = made.set_column(made.column_names.index(ERASED), ERASED, mark)
            else:
                made = made.append_column(ERASED, mark)
            gone.append(file.path)
            pieces.append((file.path.rpartition("/")[0], made.select(schema.names)))
            rows += int(touched.sum())
        return _Change(frozenset(gone), pieces, rows, {}, schema)

    return _rewrite(log, topic, "forget", change)


def clear(log: FeatureLog, topic: str, older_than_s: float = 3600.0) -> int:
    """Remove files that no manifest names any more, and those manifests, if they were replaced so long ago; how many.

    What killed writers left is among them. Readers of this package look again where a file has gone; others may fail.
    """
    storage, root = log.storage, f"{log.storage.root}/{topic}"
    base = _replaced_since(log, topic, older_than_s)
    if base is None:
        return 0
    named = {file.path for batch in log.batches(topic) for file in batch.files}
    # between that base and the present one there may be others, whose readers are younger
    for number in range(base.number, log.batches(topic)[-1].number + 1):
        named |= {file.path for file in log.manifest(topic, number).files}
    removed = 0
    for info in storage.list(root, recursive=True):
        path = info.path[len(root) + 1 :]
        numbered = re.fullmatch(r"(?:.*/)?(\d{8,})-[0-9a-f]{16}\.parquet", path)
        draft = re.fullmatch(r"(?:.*/)?\.\d{8,}.*\.tmp", path)
        is_old = time.time() - (info.mtime_ns or 0) / 1e9 > _DRAFT_S
        if (draft and is_old) or (numbered and int(numbered[1]) <= base.number and path not in named):
            storage.delete(info.path)
            removed += 1
    # from the first on: a listing never shows a gap
    for number in sorted(_numbers(log, topic)):
        if number < base.number:
            storage.delete(manifest_path(storage.root, topic, number))
            removed += 1
    return removed


def _replaced_since(log: FeatureLog, topic: str, older_than_s: float) -> Batch | None:
    """The newest rewrite that is so old."""
    found = _numbers(log, topic)
    number = max(found, default=-1)
    while number in found:
        batch = log.manifest(topic, number, found[number])
        if batch.kind == "append":
            if batch.base == number:
                return None
            number = batch.base
            continue
        age_s = time.time() - (found[number].mtime_ns or 0) / 1e9
        if age_s >= older_than_s:
            return batch
        number -= 1
    return None


def _numbers(log: FeatureLog, topic: str) -> dict[int, pafs.FileInfo]:
    """The manifests that there are."""
    listed = log.storage.list(f"{log.storage.root}/{topic}/_manifests")
    return {int(info.base_name[:-5]): info for info in listed if re.fullmatch(r"\d{8,}\.json", info.base_name)}


def _to_join(files: Sequence[LogFile], target_bytes: int) -> list[tuple[str, list[LogFile]]]:
    """Which files are put together, and in which folder."""
    by_folder: dict[str, list[LogFile]] = {}
    newest = max((file.path[:13] for file in files), default="")
    by_date: dict[str, list[LogFile]] = {}
    for file in files:
        by_date.setdefault(file.path[:13], []).append(file)
    for date, mine in by_date.items():
        is_over = date < newest and sum(file.bytes for file in mine) <= target_bytes
        for file in mine:
            by_folder.setdefault(date if is_over else file.path.rpartition("/")[0], []).append(file)
    groups = []
    for folder, mine in sorted(by_folder.items()):
        chosen: list[LogFile] = []
        size = rows = 0
        # smallest first, and none that is larger than all before it: so a row is written a logarithmic number of times
        for file in sorted(
            (file for file in mine if file.bytes < target_bytes), key=lambda file: (file.rows, file.path)
        ):
            if (len(chosen) >= _FEW and file.rows > rows) or size + file.bytes > target_bytes:
                break
            chosen.append(file)
            size, rows = size + file.bytes, rows + file.rows
        whole = len({file.path.rpartition("/")[0] for file in chosen}) > 1 and len(chosen) == len(mine)
        if len(chosen) >= _FEW or (whole and len(chosen) > 1):
            groups.append((folder, chosen))
    return groups


def _rewrite(
    log: FeatureLog, topic: str, kind: Kind, change: Callable[[_State], _Change], *, even_if_nothing: bool = False
) -> Rewritten:
    for _ in range(_ATTEMPTS):
        batches = log.batches(topic)
        if not batches:
            return Rewritten(topic)
        state = _State(log, topic, batches, tuple(file for batch in batches for file in batch.files))
        ranges, newest = log.ranges(topic), batches[-1]
        made = change(state)
        many_manifests = even_if_nothing and len(batches) > 1
        if not made.gone and not made.starts and not many_manifests:
            return Rewritten(topic, len(state.files), len(state.files))
        folder = f"{log.storage.root}/{topic}"
        written = write_all(log.storage, folder, newest.number + 1, made.pieces)
        if (number := _commit(log, topic, kind, state, made, written, ranges)) is not None:
            after = len(state.files) - len(made.gone) + len(written)
            return Rewritten(topic, len(state.files), after, made.rows, number)
    raise FeatureLogError(
        "the log is being rewritten by others all the time",
        where=topic,
        hint="let one process at a time compact, cut or erase.",
    )


def _commit(
    log: FeatureLog,
    topic: str,
    kind: Kind,
    state: _State,
    made: _Change,
    written: Sequence[LogFile],
    ranges: dict[int, tuple[int, int]],
) -> int | None:
    """Create the manifest, behind what was appended meanwhile; its number, or None if the log was rewritten meanwhile."""
    files = [*(file for file in state.files if file.path not in made.gone), *written]
    ranges, newest = dict(ranges), state.newest
    schema = made.schema or newest.schema
    while True:
        starts = {number: (max(made.starts.get(number, start), start), end) for number, (start, end) in ranges.items()}
        number = newest.number + 1
        base = Batch(
            number,
            tuple(sorted(files, key=lambda file: (file.known_us, file.path))),
            starts,
            newest.next_offsets,
            pa.unify_schemas([schema, newest.schema], promote_options="permissive"),
            kind,
            number,
            newest.defaults,
            min(newest.sample, *(batch.sample for batch in state.batches)),
        )
        path = manifest_path(log.storage.root, topic, number)
        with told(path):
            if log.storage.create(path, base.to_json()):
                # free, too, where others have gone past the number and cleared it away: then nobody would read it
                past = log.newest(topic)
                return None if past and past.base > number else number
        newest = log.manifest(topic, number)
        if newest.kind != "append":
            return None
        files += newest.files
        for partition, (start, end) in newest.ranges.items():
            ranges[partition] = (ranges.get(partition, (start, end))[0], end)


def _by_partition(table: pa.Table, starts: Mapping[int, int]) -> npt.NDArray[np.int64]:
    """The first offset to keep, per row."""
    partitions = table["_partition"].to_numpy()
    found = np.zeros(len(partitions), np.int64)
    for number, start in starts.items():
        found[partitions == number] = start
    return found
