"""The feature log on an S3 endpoint, in a server process of its own: the same log, and each manifest created exactly once."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from log_rows import START_US, grown, table
from log_victim import PROCESSES, compete, started, stumble

from samestream.schemas.errors import FeatureLogError, SettingsError
from samestream.streams.engine.feature_task import FeatureTask, VectorEncoder
from samestream.streams.log import rewriting
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.vector_replay import replayed

SERVER = Path(__file__).parents[2] / "build/s3/bin/moto_server"
pytestmark = pytest.mark.skipif(not SERVER.exists(), reason="the server comes with `make s3`")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = tmp_path_factory.mktemp("s3") / "said"
    server = subprocess.Popen(
        [SERVER, "-H", "127.0.0.1", "-p", str(port)], stdout=said.open("w"), stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert server.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.05)
    yield f"127.0.0.1:{port}"
    server.terminate()
    server.wait(10)


@pytest.fixture
def root(endpoint: str, request: pytest.FixtureRequest) -> str:
    """The URI of a log in a bucket of the test's own."""
    bucket = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:50].strip("-")
    options = f"endpoint_override={endpoint}&scheme=http&region=us-east-1"
    filesystem, _ = pafs.FileSystem.from_uri(f"s3://me:secret@{bucket}?{options}&allow_bucket_creation=true")
    filesystem.create_dir(bucket)
    return f"s3://me:secret@{bucket}/log?{options}"


def test_the_log_is_the_same_as_on_a_disk(root: str, tmp_path: Path) -> None:
    far, near = grown(root, batches=9), grown(tmp_path, batches=9)
    assert FeatureLog(root).read("t").equals(near.read("t"))
    assert [path.partition("/log/")[2] for path in far.files("t")] == [
        path.partition(f"{tmp_path}/")[2] for path in near.files("t")
    ]
    rewriting.compact(far, "t")
    assert rewriting.clear(far, "t", 0) == 6 + 9  # small files of a full hour, and manifests
    rewriting.cut(far, "t", rewriting.cut_offsets(far, "t", START_US + 3_600_000_000))
    assert FeatureLog(root).read("t").num_rows == 30
    assert FeatureLog(root).ranges("t") == {0: (30, 45), 1: (30, 45)}
    assert FeatureLog(root).topics() == ["t"]
    first, second = far.writer("t"), far.writer("t")
    first.append(table([(0, 45, START_US)], x=[1.0]), {0: (45, 46)})
    with pytest.raises(FeatureLogError, match="another writer owns this log"):
        second.append(table([(0, 45, START_US)], x=[2.0]), {0: (45, 46)})
    assert FeatureLog(root).read("t")["x"].to_pylist().count(1.0) == 1


def test_of_writers_in_four_processes_one_wins_every_manifest(root: str) -> None:
    gate = PROCESSES.Barrier(4)
    writers = [started(compete, root, number, gate) for number in range(4)]
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    rows = FeatureLog(root).read("t")
    assert rows["_offset"].to_pylist() == list(range(24))
    assert sorted(rows["by"].to_pylist()) == sorted([0, 1, 2, 3] * 6)
    assert len(FeatureLog(root).batches("t")) == 24


def test_killed_anywhere_nothing_is_lost_or_twice(root: str) -> None:
    for strikes in range(1, 21, 2):
        victim = started(stumble, root, strikes)
        victim.join(120)
        assert victim.exitcode == -signal.SIGKILL
        log = FeatureLog(root)
        end = log.offsets("t").get(0, 0)
        assert log.read("t")["_offset"].to_pylist() == list(range(end))
    assert end > 15


def test_a_whole_app_is_logged_and_replayed(root: str) -> None:
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(300))
    harness.work_off(transport, FeatureTask(harness.PLAN))
    log = harness.write_log(transport, FeatureLog(root))
    rewriting.compact(log, "shop.views")
    encoder = VectorEncoder(harness.PLAN)
    again = [
        record.value
        for _, _, every in replayed(harness.PLAN, transport, FeatureLog(root))
        for vectors in every
        for record in encoder.records(vectors)
    ]
    topic = harness.PLAN.models["Buys"].topics["features"]
    assert again == [value for _, _, value, _ in harness.contents(transport, [topic])[topic]]


def test_what_the_endpoint_refuses_is_told(endpoint: str) -> None:
    options = f"endpoint_override={endpoint}&scheme=http&region=us-east-1"
    log = FeatureLog(f"s3://me:secret@no-such-bucket/log?{options}")
    with pytest.raises(FeatureLogError, match=r"(?s)nothing of this batch counts.*no-such-bucket.*Hint: ") as told:
        log.writer("t").append(table([(0, 0, START_US)]), {0: (0, 1)})
    assert "secret" not in str(told.value)
    with pytest.raises(SettingsError, match="no place that files can be kept in") as refused:
        FeatureLog("what://me:secret@bucket/log")
    assert "secret" not in str(refused.value)


def test_columns_come_typed(root: str) -> None:
    log = FeatureLog(root)
    log.writer("t").append(
        table([(0, 0, START_US)], text=["a"], many=pa.array([[1, 2]]), at=pa.array([1], pa.timestamp("us", "UTC"))),
        {0: (0, 1)},
    )
    assert FeatureLog(root).read("t").schema.field("many").type == pa.list_(pa.int64())
