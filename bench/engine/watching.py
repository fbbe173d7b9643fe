"""Watching a system from outside: CPU and memory of its processes, and how much it has written. Linux only: it reads /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from samestream.streams.transport import Partition, Transport

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
POLL_S, QUIET_S, STARTING_S = 0.05, 1.5, 90.0
WARM_SHARE = 0.5
"""How much of what is written in the end is left out: compilers and caches warm up, of all systems alike."""


@dataclass
class Watched:
    """What was seen of one run.

    events_per_s, cpu_s_per_million : after the warm share
    broker_s_per_million : the broker's CPU, meanwhile
    written : records in the output, control records among them; peak_mb : of all its processes
    """

    events_per_s: float = 0.0
    cpu_s_per_million: float = 0.0
    broker_s_per_million: float = 0.0
    peak_mb: float = 0.0
    written: int = 0
    starting_s: float = 0.0
    finished: bool = False
    failure: str = ""
    samples: list[tuple[float, int, float, float]] = field(default_factory=list)


class Running:
    """A system as a process in a session of its own."""

    def __init__(self, command: Sequence[str], folder: Path, log: Path, env: Mapping[str, str]) -> None:
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, **env},
            )
        self.peak_kb: dict[int, int] = {}

    def look(self) -> float:
        """CPU seconds of all its processes so far; notes the peaks of memory."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parts = _parts(stat)
                if int(parts[3]) != self.process.pid:
                    continue
                ticks += _ticks(parts)
                for line in (stat.parent / "status").read_text("latin-1").splitlines():
                    if line.startswith("VmHWM:"):
                        self.peak_kb[int(stat.parent.name)] = int(line.split()[1])
            except (OSError, IndexError):
                continue
        return ticks / TICKS_PER_S

    @property
    def failure(self) -> str:
        """Its last lines, once it has ended."""
        if self.process.poll() is None:
            return ""
        lines = [line.strip() for line in self._log.read_text("utf-8", "replace").splitlines() if line.strip()]
        return f"left with {self.process.returncode}: " + (" | ".join(lines[-3:])[-300:] or "nothing said")

    def end(self) -> None:
        """Ask it to end, then make it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(number)
                try:
                    self.process.wait(15)
                except subprocess.TimeoutExpired:
                    continue
        self.process.wait()


def _parts(stat: Path) -> list[str]:
    """What /proc says of a process, from its state on."""
    return stat.read_text("latin-1").rpartition(")")[2].split()


def _ticks(parts: Sequence[str]) -> int:
    """Of the CPU, in user and in system mode."""
    return int(parts[11]) + int(parts[12])


def cpu_s(pid: int) -> float:
    """CPU seconds of one process so far, all its threads; 0 if it has ended."""
    try:
        parts = _parts(Path("/proc", str(pid), "stat"))
    except OSError:
        return 0.0
    return _ticks(parts) / TICKS_PER_S


def watch(
    running: Running, broker: int, transport: Transport, topic: str, partitions: int, events: int, limit_s: float
) -> Watched:
    """Follow a run until it has written so many records, or for so long after its first one."""
    parts = [Partition(topic, number) for number in range(partitions)]
    found, began_s = Watched(), time.monotonic()
    samples, first_s, moved_s = found.samples, 0.0, 0.0
    while True:
        own_s, broker_s, now_s = running.look(), cpu_s(broker), time.monotonic()
        written = sum(end.high for end in transport.ends(parts).values())
        if written and not first_s:
            first_s = now_s
            found.starting_s = now_s - began_s
        if not samples or written != samples[-1][1]:
            moved_s = now_s
            samples.append((now_s, written, own_s, broker_s))
        found.failure = running.failure
        if found.failure:
            break
        if written >= events and now_s - moved_s > QUIET_S:
            found.finished = True
            break
        if first_s and now_s - first_s > limit_s:
            break
        if not first_s and now_s - began_s > STARTING_S:
            found.failure = f"nothing written within {STARTING_S:.0f} s"
            break
        time.sleep(POLL_S)
    found.written = samples[-1][1]
    found.peak_mb = sum(running.peak_kb.values()) / 1024
    _rate(found)
    return found


def _rate(found: Watched) -> None:
    warm = [sample for sample in found.samples if sample[1] >= WARM_SHARE * found.written and sample[1]]
    if len(warm) < 2:
        return
    (begin_s, begun, *begin_cpu_s), (end_s, ended, *end_cpu_s) = warm[0], warm[-1]
    found.events_per_s = (ended - begun) / (end_s - begin_s)
    found.cpu_s_per_million, found.broker_s_per_million = (
        (after - before) * 1e6 / (ended - begun) for before, after in zip(begin_cpu_s, end_cpu_s, strict=True)
    )
