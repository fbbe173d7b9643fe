"""Fates of processes: at a point in what they do they are killed, or stopped.

A point is named by the step of a batch before or after which it lies (`PROCESSOR_POINTS`, `TOLD_POINTS`, ...); ``times`` says
at which of its occurrences it strikes.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from samestream.streams.engine import snapshot_file
from samestream.streams.engine.processor import Task
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.storage import Storage
from samestream.streams.transport import Outgoing, Partition, TransactionalWriter, nothing
from samestream.streams.wire.packed import Packed
from samestream.streams.wire.parcel import Parcel

PROCESSOR_POINTS = (
    "open.before",
    "open.after",
    "journal.after",  # recovery has read the journal, and has not replayed it
    "process.before",
    "process.after",
    "begin.before",
    "begin.after",
    "vectors.within",  # half of a batch's vectors are sent
    "vectors.after",
    "rejects.after",
    "entry.after",  # the journal's record is sent
    "offsets.before",  # every record is delivered
    "offsets.after",
    "commit.within",  # the request to commit is on its way, or decided, or answered
    "commit.after",
)
TOLD_POINTS = (
    "told.after",  # records of a task that writes them one by one are sent: a monitor's incidents
    "told.commit",  # the request to commit these is on its way, or decided, or answered
    "told.committed",
)
LOG_POINTS = (
    "file.before",
    "file.within",  # half of the bytes are in the file beside
    "file.written",  # it waits beside its place
    "file.after",
    "sync.before",
    "manifest.before",
    "manifest.written",
    "manifest.linked",  # it is in place; its draft is, too
    "manifest.after",
)
SNAPSHOT_POINTS = (
    "snapshot.before",
    "snapshot.within",  # half of it is in the file beside
    "snapshot.written",  # it is whole and durable, and waits beside its place
    "snapshot.after",
)
CLEAR_POINTS = ("delete.before", "delete.after")
ONCE = frozenset({"open.before", "open.after", "journal.after"})
"""Points that come once in a process's life."""


class Fate:
    """Counts what happens, in this process and in those that it forks, and strikes this one when it is time."""

    def __init__(self, point: str = "", times: int = 1, stop: bool = False) -> None:
        self._point, self._left = point, mmap.mmap(-1, 1)  # shared
        self._left[0] = times
        self._pid = os.getpid()
        self._signal = signal.SIGSTOP if stop else signal.SIGKILL
        self._one = threading.Lock()  # files of a log are written by several threads

    def at(self, point: str) -> None:
        """Die here, if this is the point and the time has come."""
        if self.strikes(point):
            self._strike()

    def _strike(self) -> None:
        for pid in {self._pid: None, os.getpid(): None}:  # first the process, then the one that it has forked
            os.kill(pid, self._signal)

    def strikes(self, point: str) -> bool:
        """Whether this is the point and the time has come."""
        if point != self._point:
            return False
        with self._one:
            if not self._left[0]:
                return False
            self._left[0] -= 1
            return not self._left[0]

    def soon(self, point: str) -> None:
        """Die within the next few milliseconds, whatever then is being done."""
        if self.strikes(point):
            delay_s = random.uniform(0.0, 0.006)
            threading.Timer(delay_s, os.kill, (os.getpid(), self._signal)).start()


class DoomedWriter:
    """A transactional writer under a fate."""

    def __init__(self, writer: Any, fate: Fate) -> None:
        self._writer: TransactionalWriter = writer
        self._fate, self._sends = fate, 0
        sender = writer._sender  # the steps within a commit are visible only on the handle itself
        sender.handle = self._handle = _DoomedHandle(sender.handle, fate)
        self.close = writer.close
        self.abort = writer.abort

    def open(self) -> None:
        self._fate.at("open.before")
        self._writer.open()
        self._fate.at("open.after")

    def begin(self, like_last: bool = False) -> None:
        self._fate.at("begin.before")
        self._writer.begin(like_last)
        self._sends, self._handle.tells = 0, False
        self._fate.at("begin.after")

    def send(self, records: Iterable[Outgoing]) -> None:
        """As the processor sends: parcels of vectors, other vectors (or none), rejects, the entry."""
        if isinstance(records, Parcel):
            half = len(records) // 2
            self._writer.send(_part(records, 0, half))
            self._fate.at("vectors.within")
            self._writer.send(_part(records, half, len(records)))
            return
        what, sent = ("vectors", "rejects", "entry")[self._sends], list(records)
        self._writer.send(sent[: len(sent) // 2])
        if what == "vectors" and sent:
            self._fate.at("vectors.within")
        self._writer.send(sent[len(sent) // 2 :])
        self._sends += 1
        if what == "vectors" and sent:
            self._handle.tells = True
            self._fate.at("told.after")
        self._fate.at(f"{what}.after")

    def commit(
        self,
        offsets: Mapping[Partition, int] | None = None,
        group: str | None = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        self._writer.commit(offsets, group, meanwhile)
        if self._handle.tells:
            self._fate.at("told.committed")
        self._fate.at("commit.after")


def _part(parcel: Parcel, start: int, end: int) -> Parcel:
    """Some records of a parcel, still a parcel: they are sent from buffers, as all are."""
    keys, values = (
        Packed(held.data, held.bounds[start : end + 1], held.there[start:end]) for held in (parcel.keys, parcel.values)
    )
    return Parcel(parcel.topic, keys, values, parcel.known_us[start:end], parcel.partitions[start:end])


class _DoomedHandle:
    _OWN = ("_handle", "_fate", "tells")

    def __init__(self, handle: Any, fate: Fate) -> None:
        self._handle, self._fate = handle, fate
        self.tells = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """On the handle itself: a count of failures that was set to nothing here would hide all that follow."""
        if name in self._OWN:
            super().__setattr__(name, value)
        else:
            setattr(self._handle, name, value)

    def send_offsets_to_transaction(self, *given: Any) -> None:
        self._fate.at("offsets.before")
        self._handle.send_offsets_to_transaction(*given)
        self._fate.at("offsets.after")

    def commit_transaction(self, *given: Any) -> None:
        self._fate.soon("commit.within")
        if self.tells:
            self._fate.soon("told.commit")
        self._handle.commit_transaction(*given)


class DoomedTransport(KafkaTransport):
    """Kafka, whose transactional writers are under a fate."""

    def __init__(self, bootstrap: str, fate: Fate, properties: Mapping[str, str] = {}) -> None:
        super().__init__(bootstrap, properties)
        self._fate = fate

    def transactional_writer(self, identity: str) -> TransactionalWriter:
        return DoomedWriter(super().transactional_writer(identity), self._fate)


def doom_storage(fate: Fate) -> None:
    """Put the points of `LOG_POINTS` and `CLEAR_POINTS` into the functions that write and remove files."""
    write, create, sync, link, beside = Storage.write, Storage.create, Storage.sync, os.link, Storage._write_beside
    delete = Storage.delete

    def fatal_write(self: Storage, path: str, content: bytes) -> None:
        fate.at("file.before")
        write(self, path, content)
        fate.at("file.after")

    def fatal_create(self: Storage, path: str, content: bytes) -> bool:
        fate.at("manifest.before")
        made = create(self, path, content)
        fate.at("manifest.after")
        return made

    def fatal_sync(self: Storage, paths: Iterable[str]) -> None:
        fate.at("sync.before")
        sync(self, paths)

    def fatal_delete(self: Storage, path: str) -> None:
        fate.at("delete.before")
        delete(self, path)
        fate.at("delete.after")

    def fatal_link(*given: Any) -> None:
        fate.at("manifest.written")
        link(*given)
        fate.at("manifest.linked")

    def fatal_beside(self: Storage, path: str, content: bytes) -> str:
        is_file = path.endswith(".parquet")
        if is_file and fate.strikes("file.within"):
            beside(self, path, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        made = beside(self, path, content)
        if is_file:
            fate.at("file.written")
        return made

    for name, fatal in (
        ("write", fatal_write),
        ("create", fatal_create),
        ("sync", fatal_sync),
        ("delete", fatal_delete),
        ("_write_beside", fatal_beside),
    ):
        setattr(Storage, name, fatal)
    os.link = fatal_link


def doom_snapshots(fate: Fate) -> None:
    """Put the points of `SNAPSHOT_POINTS` into the functions that write snapshots."""
    write, placed = snapshot_file.write, snapshot_file.placed

    def fatal_write(path: Path, *given: Any) -> int:
        fate.at("snapshot.before")
        if fate.strikes("snapshot.within"):
            with tempfile.TemporaryDirectory() as aside:
                write(Path(aside, "whole"), *given)
                content = Path(aside, "whole").read_bytes()
            path.with_name(f".{path.name}.torn.tmp").write_bytes(content[: len(content) // 2])
            fate._strike()
        return write(path, *given)

    def fatal_placed(beside: Path, path: Path) -> None:
        fate.at("snapshot.written")
        placed(beside, path)
        fate.at("snapshot.after")

    snapshot_file.write, snapshot_file.placed = fatal_write, fatal_placed


def after(call: Callable[..., Any], fate: Fate, point: str) -> Callable[..., Any]:
    def fatal(*given: Any, **named: Any) -> Any:
        found = call(*given, **named)
        fate.at(point)
        return found

    return fatal


def doom_task(task: Task, fate: Fate) -> None:
    def doomed(process: Callable[..., Any]) -> Callable[..., Any]:
        def fatal(*given: Any) -> Any:
            fate.at("process.before")
            emitted = process(*given)
            fate.at("process.after")
            return emitted

        return fatal

    task.process, task.absorb = doomed(task.process), doomed(task.absorb)  # type: ignore[method-assign]
