"""What the demo runs on: a broker, and the roles as processes of their own, restarted when they are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from samestream.console.roles import ROLES, Role, build
from samestream.schemas import app as apps
from samestream.schemas.errors import BrokerError, BrokerUnavailableError, SamestreamError
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.transport import Transport

FENCED_EXIT = 3
_MOST_RESTARTS = 20
# the processor on its own, so that it can be killed on its own; the others share one process on a small machine
_PROCESSES = (("features",), ("scorer", "outcomes"), ("log",), ("monitor",))


class Cluster:
    """A context: the broker is up and empty inside, and everything started is gone afterwards (unless ``keep``)."""

    def __init__(
        self,
        folder: Path,
        bootstrap: str | None,
        properties: Mapping[str, str],
        *,
        keep: bool,
        say: Callable[[str], None],
    ) -> None:
        self._base, self._bootstrap, self._properties, self._keep, self._say = (
            folder,
            bootstrap,
            dict(properties),
            keep,
            say,
        )
        self._children: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}
        self._restarts = 0
        self._threads: list[threading.Thread] = []
        self._failed: list[BaseException] = []
        self._stop = threading.Event()
        self._broker: Any = None
        self._outputs: list[IO[bytes]] = []
        self.transport: Transport
        self.broker_version = "unknown"

    def __enter__(self) -> Self:
        self._base.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="demo-", dir=self._base))
        self.log_root, self.artifacts = str(self.folder / "log"), str(self.folder / "artifacts")
        try:
            self.transport = self._connect()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_roles()
        if kind is not None and not issubclass(kind, KeyboardInterrupt):
            for output in sorted(self.folder.glob("*.out")):
                tail = output.read_text(errors="replace").strip().splitlines()[-5:]
                self._say("\n".join([f"last lines of {output.name}:", *tail]))
        self._clean_up()

    def _connect(self) -> Transport:
        from samestream.streams.kafka.transport import KafkaTransport

        if self._bootstrap is None:
            from samestream.streams.kafka.local_kafka import LocalKafka

            broker = self._broker = LocalKafka(self.folder / "kafka")
            started = time.monotonic()
            try:
                status = broker.up(self._say)
            except BrokerError as error:
                if not isinstance(error, BrokerUnavailableError):
                    raise
                return self._in_memory(error)
            self._bootstrap = status.bootstrap
            self.broker_version = status.version or self.broker_version
            self._say(
                f"Kafka {status.version} at {status.bootstrap}, pid {status.pid}, up in {time.monotonic() - started:.1f} s"
            )
        assert self._bootstrap is not None
        return KafkaTransport(self._bootstrap, self._properties)

    def _in_memory(self, error: BrokerError) -> Transport:
        from samestream.streams.memory.transport import MemoryBroker, MemoryTransport

        self._broker = None
        banner = "!" * 78
        instead = "Running on the in-process transport instead: nothing survives this process."
        self._say(f"{banner}\n!! NO KAFKA: {error.line}\n!! {instead}\n{banner}")
        self.broker_version = "in-process"
        return MemoryTransport(MemoryBroker())

    # Roles ------------------------------------------------------------------------------------------
    def start_roles(self, module: Path) -> None:
        """Start every role: as processes on Kafka, as threads on the in-process transport."""
        if self.transport.kind == "memory":
            app = apps.load(str(module))
            for role in (worker for name in ROLES for worker in build(name, app, self.transport, self.log_root)):
                thread = threading.Thread(target=self._run_thread, args=(role,), daemon=True)
                self._threads.append(thread)
                thread.start()
            return
        for roles in _PROCESSES:
            self._children[roles] = self._spawn(module, roles)
        self._module = module

    def _run_thread(self, role: Role) -> None:
        try:
            role.run(self._stop)
        except BaseException as error:
            self._failed.append(error)

    def _spawn(self, module: Path, roles: tuple[str, ...]) -> subprocess.Popen[bytes]:
        output = (self.folder / f"{'-'.join(roles)}.out").open("ab")
        self._outputs.append(output)
        return subprocess.Popen(
            [*self._command(), "run", str(module), *roles],
            env=self._environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "samestream.console.main"]

    def _environment(self) -> dict[str, str]:
        assert self._bootstrap is not None
        return {
            **os.environ,
            "SAMESTREAM_BOOTSTRAP": self._bootstrap,
            "SAMESTREAM_PROPERTIES": json.dumps(self._properties),
            "SAMESTREAM_FOLDER": str(self.folder),
            "SAMESTREAM_LOG": self.log_root,
            "SAMESTREAM_ARTIFACTS": self.artifacts,
            # two cores: each role keeps to one thread in its libraries
            "OMP_NUM_THREADS": "1",
            "ARROW_NUM_THREADS": "2",
        }

    def pid(self, role: str) -> int:
        """The process of a role; this very process on the in-process transport."""
        return next((child.pid for roles, child in self._children.items() if role in roles), os.getpid())

    def check(self) -> None:
        """Start killed roles again. Raises what a role failed with, or when one keeps failing."""
        if self._failed:
            raise self._failed[0]
        for roles, child in list(self._children.items()):
            code = child.poll()
            if code is None or code == FENCED_EXIT:
                continue
            self._restarts += 1
            if self._restarts > _MOST_RESTARTS or code > 0:
                raise SamestreamError(
                    f"the {' and '.join(roles)} process failed",
                    where="samestream demo",
                    found=f"exit code {code}",
                    hint="its last lines follow; run again with --keep to look at everything it left.",
                )
            child = self._children[roles] = self._spawn(self._module, roles)
            told = f"killed by signal {-code}; started again, it recovers from its journal"
            self._say(f"  {' and '.join(roles)}: {told}; processor pid {child.pid}")

    def _stop_roles(self) -> None:
        self._stop.set()
        for child in self._children.values():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in self._children.values():
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for thread in self._threads:
            thread.join(15)
        for output in self._outputs:
            output.close()

    def parity(self, module: Path) -> dict[str, Any]:
        """Compare online with offline, in a fresh process with empty state; figures per model."""
        if self.transport.kind == "memory":
            from samestream.monitors.vector_parity import verify

            found = verify(compile_app(apps.load(str(module))), self.transport, FeatureLog(self.log_root))
            return {name: asdict(part) for name, part in found.items()}
        target = self.folder / "parity.json"
        command = [*self._command(), "parity", str(module), "--json", str(target), "--overwrite"]
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        if not target.exists():
            raise SamestreamError(
                "the parity process failed",
                where="samestream demo",
                found=done.stderr.strip()[-500:] or f"exit code {done.returncode}",
            )
        return dict(json.loads(target.read_text()))

    def _clean_up(self) -> None:
        if self._keep:
            self._say(
                f"kept: broker {self._bootstrap}, folder {self.folder}; stop it with `samestream down --folder {self.folder}`"
            )
            return
        if self._broker is not None:
            self._broker.down()
        shutil.rmtree(self.folder, ignore_errors=True)
