"""The snapshots of one processor on a local disk: taken beside the stream, found again, pruned.

State is a cache of the log, and a snapshot a cache of the state: it only shortens recovery. Any may be lost or damaged, and the
journal and the log give the same state. One of another definition says something else under the same names, so it is not passed
over in silence: the processor does not start until `samestream rebuild` has made the state anew.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from samestream.schemas.errors import RecoveryError
from samestream.streams.engine import snapshot_file
from samestream.streams.engine.snapshot_file import Manifest, SnapshotDamagedError
from samestream.streams.engine.value_arrays import StateNotKeptError

log = logging.getLogger("samestream")
# Python 3.12 warns of what the forked process here is careful about: it writes a file and takes no lock of another thread.
warnings.filterwarnings("ignore", r".*use of fork\(\) may lead to deadlocks", DeprecationWarning)

EVERY_S = 60.0
"""How often a snapshot is taken: what is replayed after a kill is about what was done in that time."""
KEPT = 2
"""How many snapshots of a definition are kept: an older one, in case the newest is damaged."""
COPIED_BYTES = 8 * 1024 * 1024
"""State up to this size is copied, which takes milliseconds; of more, a forked process keeps a picture of the memory."""
CAN_FORK = sys.platform == "linux"
_PATIENCE_S = 900.0


class Stateful(Protocol):
    """What of a task can be kept; `processor.Task` says more."""

    @property
    def name(self) -> str:
        """Of the processor."""

    @property
    def fingerprint(self) -> str:
        """Of the definition whose state it is."""

    @property
    def layout(self) -> str:
        """How the state is kept: another layout cannot be read, and is made again from the log."""

    def state(self) -> Mapping[str, NDArray[Any]]:
        """The state as arrays, which the next batch may change. Raises StateNotKeptError."""

    def state_bytes(self) -> int:
        """About how much that is; what Python has to walk through counts for more than its size."""

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take up a state, all of it or nothing. Raises RecoveryError."""


class Snapshots:
    """The snapshots of one processor.

    folder : where those of all processors lie, one folder for each. identity : the processor's.
    every_s : seconds from one to the next; 0 takes none, but restores what there is
    copied_bytes : up to which size state is copied rather than pictured by a fork
    """

    def __init__(
        self,
        folder: str | Path,
        identity: str,
        every_s: float = EVERY_S,
        copied_bytes: int = COPIED_BYTES,
    ) -> None:
        self.folder = Path(folder).expanduser().absolute() / identity
        self.every_s, self._copied_bytes = every_s, copied_bytes
        self._writing: _Thread | _Fork | None = None
        self._next_s = time.monotonic() + every_s
        self._is_told = False
        self.last_us = 0  # when the newest was written by this process, by the machine's clock
        self.last_bytes = self.last_sequence = self.taken = self.failed = 0
        self.pause_s = self.longest_pause_s = 0.0

    # -- finding ----------------------------------------------------------------------------------------------------

    def restore(self, task: Stateful, belongs: Callable[[Manifest], bool]) -> Manifest | None:
        """Give a task the newest state that can be had; None where there is none, so that it is made from the log.

        belongs : whether a snapshot is of the journal that there is
        Raises RecoveryError where all that there is is of another definition.
        """
        others: list[Manifest] = []
        own = 0
        for path in self._files():
            try:
                manifest = snapshot_file.read_manifest(path)
                if not belongs(manifest):
                    log.warning("%s: %s is not of this journal: passed over", task.name, path)
                elif manifest.fingerprint != task.fingerprint:
                    others.append(manifest)
                elif manifest.layout != task.layout:
                    own += 1
                    log.info("%s: %s is of another version of samestream: the state is made again", task.name, path)
                else:
                    own += 1
                    task.restore(snapshot_file.read(path)[1])
                    self.last_sequence = manifest.sequence
                    return manifest
            except (SnapshotDamagedError, RecoveryError) as error:
                own += 1
                log.warning("%s: %s", task.name, error.line)
        if others and not own:
            raise _refused(self.folder, task, others[0])
        return None

    def discard(self) -> int:
        """Remove every snapshot of the processor; how many there were."""
        files = list(self._files())
        for path in files:
            path.unlink(missing_ok=True)
        return len(files)

    def _files(self) -> Iterator[Path]:
        """The newest first."""
        return iter(sorted(self.folder.glob("[0-9]*.npz"), key=lambda path: path.name, reverse=True))

    # -- taking -----------------------------------------------------------------------------------------------------

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next, and the last one is written."""
        return self.every_s > 0 and self._writing is None and time.monotonic() >= self._next_s

    def take(self, task: Stateful, manifest: Manifest) -> None:
        """Begin to write a snapshot of a task as it is now, between two batches; the stream goes on meanwhile."""
        began_s = time.perf_counter()
        path = self._path(manifest)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if CAN_FORK and task.state_bytes() > self._copied_bytes:
                self._writing = _Fork(lambda: snapshot_file.write(path, manifest, task.state()))
            else:
                copied = {name: np.array(array) for name, array in task.state().items()}
                self._writing = _Thread(lambda: snapshot_file.write(path, manifest, copied))
        except (OSError, StateNotKeptError) as error:
            self._failed(task.name, error)
        self.last_sequence = manifest.sequence
        self._next_s = time.monotonic() + self.every_s
        self.pause_s = time.perf_counter() - began_s
        self.longest_pause_s = max(self.longest_pause_s, self.pause_s)

    def poll(self, task: Stateful) -> None:
        """Notice that a snapshot is written; then older ones are pruned. Costs next to nothing."""
        if self._writing is None:
            return
        done = self._writing.done()
        if done is None:
            return
        self._writing = None
        size, error = done
        if error:
            self._failed(task.name, error)
            return
        self.taken += 1
        self.last_bytes, self.last_us = size, time.time_ns() // 1000
        self._prune(task.fingerprint)

    def finish(self, task: Stateful, manifest: Manifest | None = None, timeout_s: float = 30.0) -> None:
        """Wait for the one being written; then take one more, if there is something to take."""
        deadline_s = time.monotonic() + timeout_s
        while self._writing is not None and time.monotonic() < deadline_s:
            self.poll(task)
            time.sleep(0.005)
        if manifest is not None and self.every_s > 0 and self._writing is None:
            self.take(task, manifest)
            self.finish(task, timeout_s=timeout_s)

    def _path(self, manifest: Manifest) -> Path:
        return self.folder / f"{manifest.sequence:012d}-{manifest.fingerprint}.npz"

    def _failed(self, name: str, error: object) -> None:
        """Say once what a snapshot fails of; the stream goes on, and the next one is tried."""
        self.failed += 1
        said = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error)
        log.log(
            logging.DEBUG if self._is_told else logging.WARNING,
            "%s: no snapshot could be taken, so recovery would replay more: %s",
            name,
            " ".join(said.split()),
        )
        self._is_told = True

    def _prune(self, fingerprint: str) -> None:
        """Keep the newest of this definition, and the newest of any other: an older definition may come back."""
        self._is_told = False
        own = [path for path in self._files() if path.stem.endswith(fingerprint)]
        others = [path for path in self._files() if not path.stem.endswith(fingerprint)]
        for path in [*own[KEPT:], *others[1:]]:
            path.unlink(missing_ok=True)
        for path in self.folder.glob(".*.tmp"):  # of processes that were killed while they wrote
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _PATIENCE_S:
                    path.unlink()


Done = tuple[int, str]
"""The size of what was written, and what went wrong."""


class _Thread:
    """Writes from copies, while the stream goes on."""

    def __init__(self, write: Callable[[], int]) -> None:
        self._found: list[Done] = []

        def work() -> None:
            try:
                self._found.append((write(), ""))
            except Exception as error:
                self._found.append((0, f"{type(error).__name__}: {error}"))

        self._thread = threading.Thread(target=work, name="snapshot", daemon=True)
        self._thread.start()

    def done(self) -> Done | None:
        """What came of it, once it is over."""
        return self._found[0] if self._found and not self._thread.is_alive() else None


class _Fork:
    """Writes from a process forked for it, which sees the memory as it was; pages that the stream changes are copied by the kernel.

    The process writes its file and ends: it has one thread, and uses no lock, handle or descriptor of the others.
    """

    def __init__(self, write: Callable[[], int]) -> None:
        self._told, telling = os.pipe()
        self._began_s = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _write_and_end(write, telling)
        os.close(telling)

    def done(self) -> Done | None:
        """What came of it, once it is over."""
        if time.monotonic() - self._began_s > _PATIENCE_S:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        said = os.read(self._told, 65536) if select.select([self._told], [], [], 0)[0] else b""
        os.close(self._told)
        if said:
            size, error = json.loads(said)
            return int(size), str(error)
        return 0, f"the process that wrote it ended with {os.waitstatus_to_exitcode(status)}"


def _write_and_end(write: Callable[[], int], telling: int) -> NoReturn:
    try:
        gc.disable()  # nothing that belongs to the parent is to be closed here
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        # sockets and pipes of the parent would stay open as long as this process lives, though the parent had died
        os.closerange(3, telling)
        os.closerange(telling + 1, os.sysconf("SC_OPEN_MAX"))
        try:
            found: Done = write(), ""
        except Exception as error:
            found = 0, f"{type(error).__name__}: {error}"[:4000]
        os.write(telling, json.dumps(found).encode())
    finally:
        os._exit(0)


def code_of(*modules: ModuleType) -> str:
    """16 hex digits of the code of some modules and packages: whoever changes how state is kept need not remember to say so."""
    digest = blake2b(digest_size=8)
    for module in modules:
        file = Path(str(module.__file__))
        for path in sorted(file.parent.glob("*.py")) if hasattr(module, "__path__") else [file]:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _refused(folder: Path, task: Stateful, other: Manifest) -> RecoveryError:
    import platform

    from samestream.streams.plan import KERNEL_VERSION

    own = {"CPU": platform.machine(), "kernel": KERNEL_VERSION}
    theirs = {"CPU": other.machine, "kernel": other.kernel}
    differing = [f"{name} {theirs[name]}, here {own[name]}" for name in own if theirs[name] != own[name]]
    return RecoveryError(
        "the snapshots are of another definition, whose state means something else",
        where=f"{task.name}, {folder}",
        found=f"fingerprint {other.fingerprint}" + (f" ({'; '.join(differing)})" if differing else ""),
        expected=task.fingerprint,
        hint="if the change is intended, `samestream rebuild MODULE` makes the state anew from journal and log.",
    )
