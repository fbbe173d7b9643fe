"""Processes that start at once and die on demand: forked from one that has everything imported and compiled.

`Nursery` is what tests use. Run as a program, this file is the parent of those processes: it takes one JSON line per
order on stdin and reports on stdout. Signals go through it, since only a parent can be sure whose number a pid is.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Child:
    """A process of a nursery; ``log`` is the file with all it said."""

    nursery: Nursery
    pid: int
    log: Path

    def signal(self, number: int) -> None:
        """Send a signal; one that has ended gets none."""
        self.nursery.order({"signal": int(number), "pid": self.pid})

    def kill(self) -> int:
        """SIGKILL it and wait; the exit code, -9 unless it had ended before."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def end(self) -> None:
        """Have it finish its batch and leave; AssertionError if it does not leave with 0."""
        self.signal(signal.SIGTERM)
        code = self.wait()
        assert code == 0, f"left with {code}: {self.said()}"

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for its end; the exit code, or minus the signal that ended it."""
        code = self.nursery.await_status(self.pid, lambda status: status != "stopped", timeout_s)
        assert isinstance(code, int), f"process {self.pid} did not end within {timeout_s:g} s: {self.said()}"
        return code

    def await_stop(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until a SIGSTOP has stopped it."""
        status = self.nursery.await_status(self.pid, lambda status: True, timeout_s)
        assert status == "stopped", f"process {self.pid} was to be stopped, found {status}: {self.said()}"

    @property
    def ended(self) -> int | None:
        """The exit code, None while it lives."""
        status = self.nursery.statuses.get(self.pid)
        return status if isinstance(status, int) else None

    def said(self) -> str:
        """All it wrote to stdout and stderr."""
        return self.log.read_text("utf-8", "replace")


class Nursery:
    """Starts processes that run `victim.main`, in milliseconds; closing it kills those that still live."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self.statuses: dict[int, int | str] = {}
        self._news = threading.Condition()
        self._born: list[int] = []
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def start(self, **spec: Any) -> Child:
        """Start a process with that order for `victim.main`."""
        self._count += 1
        log = self._folder / f"{self._count:04d}.log"
        self.order({"start": spec, "log": str(log)})
        with self._news:
            assert self._news.wait_for(lambda: self._born, PATIENCE_S), "the nursery does not answer"
            return Child(self, self._born.pop(), log)

    def order(self, order: dict[str, Any]) -> None:
        """Send an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def await_status(self, pid: int, wanted: Callable[[int | str], bool], timeout_s: float) -> int | str | None:
        """Wait for an exit code, or for ``stopped``, as wanted; None if it does not come in time."""
        with self._news:
            self._news.wait_for(lambda: pid in self.statuses and wanted(self.statuses[pid]), timeout_s)
            return self.statuses.get(pid)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            report = json.loads(line)
            with self._news:
                if "born" in report:
                    self._born.append(report["born"])
                    self.statuses.pop(report["born"], None)
                elif report["status"] == "continued":
                    self.statuses.pop(report["pid"], None)
                else:
                    self.statuses[report["pid"]] = report["status"]
                self._news.notify_all()

    def close(self) -> None:
        """Kill what still lives, and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._thread.join(PATIENCE_S)


def _serve() -> None:
    import victim

    victim.warm()
    seen, noticed = os.pipe()
    os.set_blocking(noticed, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(noticed)
    children: set[int] = set()
    held = b""
    while True:
        ready, _, _ = select.select([0, seen], [], [])
        if seen in ready:
            os.read(seen, 4096)
            _reap(children)
        if 0 in ready:
            more = os.read(0, 65536)
            if not more:
                break
            *lines, held = (held + more).split(b"\n")
            for line in lines:
                order = json.loads(line)
                if "start" in order:
                    children.add(pid := _fork(order, victim.main))
                    _report({"born": pid})
                elif order["pid"] in children:  # not reaped: the number is still its own
                    os.kill(order["pid"], order["signal"])
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    while children:
        _reap(children)
        time.sleep(0.01)


def _reap(children: set[int]) -> None:
    for pid in sorted(children):
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        if not found:
            continue
        if os.WIFSTOPPED(status):
            _report({"pid": pid, "status": "stopped"})
        elif os.WIFCONTINUED(status):
            _report({"pid": pid, "status": "continued"})
        else:
            children.discard(pid)
            _report({"pid": pid, "status": os.waitstatus_to_exitcode(status)})


def _report(report: dict[str, Any]) -> None:
    os.write(1, json.dumps(report).encode() + b"\n")


def _fork(order: dict[str, Any], main: Callable[[dict[str, Any]], int]) -> int:
    pid = os.fork()
    return pid or _live(order, main)


def _live(order: dict[str, Any], main: Callable[[dict[str, Any]], int]) -> NoReturn:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        code = main(order["start"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
