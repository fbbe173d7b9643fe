"""A genuine Apache Kafka on this machine: one KRaft node, loopback only, its data on disk in a folder of the user's.

It runs detached and outlives the command that starts it. `broker.json` in the folder says which process it is; a process
or a broker that does not prove to be that one is never adopted and never stopped.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from samestream.schemas.errors import BrokerError
from samestream.streams.kafka.jars import Progress, kafka_jars, kafka_version
from samestream.streams.kafka.java import find_java

HOST = "127.0.0.1"
LOG_KEPT_BYTES = 10_000_000
# Measured on 2 cores: with the second compiler off, Kafka starts 0.4 s sooner and uses 40 % less CPU over its first
# 4 million messages, and no more afterwards; the serial collector saves the threads a small heap does not repay.
JVM_FLAGS = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Djava.awt.headless=true"]

# Paths are relative to the folder, where Kafka runs: no path has to survive the escaping of a properties file.
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=BROKER://{host}:{port}
controller.quorum.bootstrap.servers={host}:{controller_port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=BROKER
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
auto.leader.rebalance.enable=false
# One node: nothing can be replicated, and few partitions start quickly.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# Retention goes by record timestamp: replayed history of 2013 would vanish at once. Positions are kept as long (10 years).
log.retention.ms=-1
log.message.timestamp.type=CreateTime
offsets.retention.minutes=5256000
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
# After SIGKILL the controller lets the broker back in only when its former session has run out: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# Do not make a lone consumer wait for company; free a killed writer's transaction within a second of its timeout.
group.initial.rebalance.delay.ms=0
# Members may ask to be missed sooner than after 6 s, Kafka's own least: who stands by then takes over sooner.
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
# A machine of two cores, and a cleaner whose default buffer of 128 MB would take a quarter of the heap.
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=2
group.coordinator.threads=1
share.coordinator.threads=1
log.cleaner.dedupe.buffer.size=16777216
"""

LOG4J_PROPERTIES = """\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %-5p %m (%c)%n
rootLogger.level=info
rootLogger.appenderRef.out.ref=out
# Three hundred lines of settings at every start.
logger.settings.name=org.apache.kafka.common.config
logger.settings.level=warn
logger.state.name=state.change.logger
logger.state.level=warn
"""

# Started here and outliving us on purpose. Kept so that one that dies early is reaped rather than left a zombie.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class BrokerStatus:
    """What is known of a local Kafka; `bootstrap`, `pid` and `version` are None unless it runs, `detail` says why."""

    running: bool
    bootstrap: str | None
    pid: int | None
    version: str | None
    folder: Path
    detail: str


@dataclass(frozen=True)
class _Record:
    """The content of `broker.json`; `started` is the process's start as `_start_of` gives it."""

    folder: str
    pid: int
    started: str
    port: int
    controller_port: int
    cluster_id: str
    version: str

    @property
    def alive(self) -> bool:
        """Whether the process still is the one that was started, not one that got its number later."""
        return _start_of(self.pid) == self.started


class LocalKafka:
    """One Kafka node whose data, settings and log live in `folder`.

    `port` is the broker's on loopback; None keeps the last one if it is free, else takes any. `heap` is the JVM's `-Xmx`.
    """

    def __init__(self, folder: Path, port: int | None = None, heap: str = "512m") -> None:
        self.folder = folder.expanduser().resolve()
        self.port = port
        self.heap = heap

    @property
    def bootstrap(self) -> str:
        """The address clients connect to, `127.0.0.1:port`.

        Raises
        ------
        BrokerError
            It does not run.
        """
        status = self.status()
        if status.bootstrap is None:
            raise BrokerError(
                "the local Kafka does not run", where=str(self.folder), found=status.detail, hint="samestream up"
            )
        return status.bootstrap

    def status(self) -> BrokerStatus:
        """Look, change nothing: running means that our process lives and that our cluster answers on its port."""
        record = self._record()
        if record is None:
            return self._stopped("never started here")
        if not record.alive:
            return self._stopped(f"process {record.pid} has ended")
        cluster_id = _cluster_at(record.port, timeout_s=2.0)
        if cluster_id is None:
            return self._stopped(f"process {record.pid} lives, but does not answer on port {record.port} (yet)")
        if cluster_id != record.cluster_id:
            return self._stopped(f"port {record.port} is answered by a stranger, cluster {cluster_id}")
        return self._running(record)

    def up(self, on_progress: Progress | None = None, timeout_s: float = 60.0) -> BrokerStatus:
        """Start it and return when it answers; where it runs already, return its status.

        Parameters
        ----------
        on_progress
            Called with a line at a time while jars are fetched and the storage is made.
        timeout_s
            Seconds Kafka may take from its start to its first answer; fetching the jars is not counted.

        Raises
        ------
        BrokerError
            There is no Java or no jars, the port is a stranger's, or Kafka ended or kept silent; the message then quotes
            its log.
        """
        tell = on_progress or (lambda _line: None)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            record = self._record()
            if record is not None and record.alive:
                if self.port not in (None, record.port):
                    raise BrokerError(
                        f"the Kafka of this folder runs on port {record.port}",
                        where=str(self.folder),
                        expected=f"port {self.port}",
                        hint="samestream down first, or leave the port out",
                    )
                try:
                    return self._wait(record, 0, timeout_s)
                except BrokerError:
                    if record.alive:
                        raise  # else it was dying when it was found: start it anew
            java, jars = str(find_java().path), kafka_jars(on_progress)
            self._settle_log()
            for attempt in (1, 2, 3):
                # Between choosing a port and Kafka's binding it, somebody else may: then choose again.
                port, controller_port = self._ports(record if attempt == 1 else None)
                cluster_id = self._format(java, jars, port, controller_port, tell)
                tell(f"Starting Kafka {kafka_version()} on {HOST}:{port}")
                begun = self._log.stat().st_size
                new = self._launch(java, jars, port, controller_port, cluster_id)
                try:
                    return self._wait(new, begun, timeout_s)
                except BaseException:
                    _stop(new, 5.0)
                    if attempt == 3 or "Address already in use" not in self._logged(begun):
                        raise
            raise AssertionError("unreachable")

    def down(self, timeout_s: float = 30.0) -> None:
        """Ask it to stop, and kill it after `timeout_s` seconds; nothing happens where it does not run."""
        if not self.folder.is_dir():
            return
        with self._alone():
            record = self._record()
            if record is not None and record.alive and not _stop(record, timeout_s):
                raise BrokerError(
                    f"process {record.pid} does not end", where=str(self.folder), hint=f"kill {record.pid}"
                )

    @property
    def _log(self) -> Path:
        return self.folder / "kafka.log"

    def _running(self, record: _Record) -> BrokerStatus:
        return BrokerStatus(True, f"{HOST}:{record.port}", record.pid, record.version, self.folder, "running")

    def _stopped(self, detail: str) -> BrokerStatus:
        return BrokerStatus(False, None, None, None, self.folder, detail)

    def _record(self) -> _Record | None:
        """What `broker.json` says, or None where it is absent or not ours; Kafka's own lock still guards the data."""
        try:
            record = _Record(**json.loads((self.folder / "broker.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        # A copy of a folder names the original's process, which is neither to be adopted nor to be stopped from here.
        return record if record.folder == str(self.folder) else None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time start or stop this broker; the kernel frees the lock of one that is killed."""
        with (self.folder / "up.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _ports(self, last: _Record | None) -> tuple[int, int]:
        """Ports for broker and controller: the wanted or last ones where they are free."""
        if self.port is not None and not _is_free(self.port):
            cluster_id = _cluster_at(self.port, timeout_s=2.0)
            raise BrokerError(
                f"port {self.port} is taken by another program",
                where=str(self.folder),
                found="something that is not a Kafka" if cluster_id is None else f"a Kafka of cluster {cluster_id}",
                hint="stop it, or leave the port out to get a free one",
            )
        with socket.socket() as one, socket.socket() as two:  # both open at once, so that they differ
            one.bind((HOST, 0))
            two.bind((HOST, 0))
            port, controller_port = one.getsockname()[1], two.getsockname()[1]
        if last is not None:
            port = last.port if _is_free(last.port) else port
            controller_port = last.controller_port if _is_free(last.controller_port) else controller_port
        return (port if self.port is None else self.port), controller_port

    def _format(self, java: str, jars: Path, port: int, controller_port: int, tell: Progress) -> str:
        """Write settings, make the storage by Kafka's own tool if there is none yet, and return the cluster's id."""
        settings = SERVER_PROPERTIES.format(host=HOST, port=port, controller_port=controller_port, data="data")
        (self.folder / "server.properties").write_text(settings, "ascii")
        (self.folder / "log4j2.properties").write_text(LOG4J_PROPERTIES, "ascii")
        if not (self.folder / "data").exists():
            tell("Preparing the storage")
            # Made beside its place and renamed, so that a killed start leaves no half-made storage.
            shutil.rmtree(self.folder / "data.new", ignore_errors=True)
            draft = self.folder / "format.properties"
            draft.write_text(settings.replace("log.dirs=data\n", "log.dirs=data.new\n"), "ascii")
            command = ["kafka.tools.StorageTool", "format", "--standalone", "-c", draft.name, "-t", _new_cluster_id()]
            begun = self._log.stat().st_size
            with self._log.open("ab") as log:
                done = subprocess.run(
                    [java, *self._jvm(jars), *command],
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            if done.returncode:
                raise self._failed("Kafka's storage tool refused to make the storage", begun)
            draft.unlink()
            (self.folder / "data.new").rename(self.folder / "data")
        meta = (self.folder / "data" / "meta.properties").read_text("latin-1").splitlines()
        return next(line.partition("=")[2] for line in meta if line.startswith("cluster.id="))

    def _jvm(self, jars: Path) -> list[str]:
        # The folder among the flags shows in `ps` whose Kafka it is.
        own = ["-Dlog4j2.configurationFile=log4j2.properties", f"-Dsamestream.folder={self.folder}"]
        return [f"-Xmx{self.heap}", *JVM_FLAGS, *own, "-cp", f"{jars}/*"]

    def _launch(self, java: str, jars: Path, port: int, controller_port: int, cluster_id: str) -> _Record:
        """Start Kafka in a session of its own and write down who it is."""
        with self._log.open("ab") as log:
            child = subprocess.Popen(
                [java, *self._jvm(jars), "-XX:+ExitOnOutOfMemoryError", "kafka.Kafka", "server.properties"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _children[child.pid] = child
        started = _start_of(child.pid) or "ended at once"
        record = _Record(str(self.folder), child.pid, started, port, controller_port, cluster_id, kafka_version())
        draft = self.folder / "broker.json.new"
        draft.write_text(json.dumps(asdict(record), indent=2), "utf-8")
        draft.replace(self.folder / "broker.json")
        return record

    def _wait(self, record: _Record, begun: int, timeout_s: float) -> BrokerStatus:
        """Wait until the process of `record` answers as its cluster; `begun` is where its part of the log begins."""
        deadline = time.monotonic() + timeout_s
        while record.alive:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise self._failed(f"Kafka does not answer on port {record.port} after {timeout_s:g} s", begun)
            cluster_id = _cluster_at(record.port, min(left_s, 5.0))
            if cluster_id == record.cluster_id:
                return self._running(record)
            if cluster_id is not None:
                raise self._failed(f"port {record.port} is answered by a stranger, cluster {cluster_id}", begun)
            time.sleep(0.05)
        raise self._failed("Kafka ended while it started", begun)

    def _settle_log(self) -> None:
        """Have a log to append to; an old one that has grown is set aside, so that at most two are kept."""
        if self._log.exists() and self._log.stat().st_size > LOG_KEPT_BYTES:
            self._log.replace(self._log.with_name("kafka.log.1"))
        self._log.touch()

    def _logged(self, begun: int) -> str:
        """The log from byte `begun` on, at most its last 200 kB."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(begun, log.seek(0, os.SEEK_END) - 200_000))
                return log.read().decode("utf-8", "replace")
        except FileNotFoundError:  # removed by somebody while Kafka runs
            return ""

    def _failed(self, what: str, begun: int) -> BrokerError:
        """An error that quotes what the log says of it: all of a short one, of a long one the lines that complain."""
        lines = [line.strip() for line in self._logged(begun).splitlines() if line.strip()]
        if len(lines) > 8:
            lines = [line for line in lines if any(word in line for word in ("ERROR", "Error", "Exception"))] or lines
        quoted = "\n  ".join(lines[-8:]) or "nothing in the log"
        return BrokerError(what, where=str(self.folder), found="\n  " + quoted, hint=f"read {self._log}")


def _new_cluster_id() -> str:
    """A random id as Kafka writes them: 16 bytes in base64, 22 characters, never beginning like an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def _is_free(port: int) -> bool:
    """Whether nobody listens on the loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Kafka does: closed connections may linger
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return not _answers(port)  # a listener on all addresses does not everywhere prevent the bind above


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _cluster_at(port: int, timeout_s: float) -> str | None:
    """The cluster id of the Kafka that answers on the port and has a broker to offer; None where there is none."""
    if not _answers(port):
        return None
    # log_level 0: while it starts, a refused connection is no news worth a line on the user's terminal
    client = AdminClient({"bootstrap.servers": f"{HOST}:{port}", "log_level": 0, "socket.timeout.ms": 5000})
    try:
        found = client.list_topics(timeout=timeout_s)
    except KafkaException:
        return None
    return str(found.cluster_id) if found.brokers and found.cluster_id else None


def _start_of(pid: int) -> str | None:
    """When the process began, in a form that tells it from any other that had or will have its number; None if it ended."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
        return None
    stat = Path("/proc", str(pid), "stat")
    if Path("/proc/self/stat").exists():
        try:
            # The command's name, in parentheses, may hold anything: count the fields after it. Ticks since boot, so
            # the boot is named too.
            fields = stat.read_text("latin-1").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    told = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, env=environment
    ).stdout.split(maxsplit=1)
    return None if len(told) < 2 or told[0].startswith("Z") else told[1].strip()


def _stop(record: _Record, timeout_s: float) -> bool:
    """End the process of `record`, by force after `timeout_s` seconds; whether it ended."""
    for number, patience_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 10.0)):
        if not record.alive:
            return True
        os.kill(record.pid, number)
        deadline = time.monotonic() + patience_s
        while record.alive and time.monotonic() < deadline:
            time.sleep(0.02)
    return not record.alive
