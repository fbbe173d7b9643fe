"""The jobs for spark-submit: training sets and profiles from the feature log, equal to those that one machine makes."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import PLAN

from samestream.schemas.app import load
from samestream.schemas.avro import Codec
from samestream.schemas.errors import FeatureLogError, TrainingError
from samestream.streams import columns as cols
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log import erasure, judged_on_spark, log_source, rewriting
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.models.category_profile import profile_of
from samestream.streams.models.profile import NumericProfile
from samestream.streams.spark import log_frames
from samestream.streams.spark import session as spark_session
from samestream.streams.spark.profiles import profiles
from samestream.streams.transport import Outgoing
from samestream.trainers import dataset, spark_dataset, spark_job, vectors_at
from samestream.trainers.request import Request

SHOP = Path(harness.__file__).with_name("shop.py")
MODEL = PLAN.models["Buys"]
FIRST_US = harness.START_US
SPLIT_US = FIRST_US + 8_000 * harness.SECOND_US


def whole_seconds(record: Outgoing) -> Outgoing:
    """The same event with a whole number of seconds: sums of such are exact, in whatever order."""
    if record.topic != PLAN.events["View"].topic or record.value is None:
        return record
    codec = Codec(PLAN.events["View"].schema)
    view = codec.decode(record.value)
    seconds = None if view["seconds"] is None else float(round(view["seconds"]))
    return record._replace(value=codec.encode({**view, "seconds": seconds}))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A log of many small files, compacted in part."""
    transport = harness.fresh()
    harness.send(transport, map(whole_seconds, harness.shop_events(2_500)))
    harness.work_off(transport, FeatureTask(PLAN), batch_records=100)  # as when it is served live
    once = harness.write_log(transport, FeatureLog(tmp_path_factory.mktemp("once")))
    log = FeatureLog(tmp_path_factory.mktemp("log"), partition_by="hour")
    for topic in once.topics():
        writer, (whole,) = log.writer(topic), once.batches(topic)
        ends = {number: start for number, (start, _) in whole.ranges.items()}
        while ends != dict(whole.next_offsets):
            upto = {number: min(whole.next_offsets[number], end + 200) for number, end in ends.items()}
            rows = once.read(topic)
            keep = [
                ends[p] <= o < upto[p]
                for p, o in zip(rows["_partition"].to_pylist(), rows["_offset"].to_pylist(), strict=True)
            ]
            writer.append(rows.filter(pa.array(keep)), {number: (ends[number], upto[number]) for number in ends})
            ends = upto
        if topic != "shop.features.Buys":
            rewriting.compact(log, topic)
    return log.storage.root


def never() -> Any:
    raise AssertionError("this needs no broker")


ASKED: list[dict[str, Any]] = [
    {},
    {
        "from_us": FIRST_US + 1_000_000_000,
        "to_us": SPLIT_US + 10,
        "as_of_us": SPLIT_US + 6_000_000_000,
        "splits_us": (FIRST_US + 5_000_000_000,),
    },
]


def same(far: dataset.Dataset, near: dataset.Dataset) -> None:
    """Two datasets are one, manifests and types too."""
    for name, table in near.parts.items():
        assert far.parts[name].schema == table.schema
        assert far.parts[name].equals(table), name
    assert far.manifest == near.manifest


# point in time is below: by spark-submit, of a log that lacks events, and at instants of one's own
@pytest.mark.parametrize(("mode", "asked"), [("served", ASKED[1]), ("as_known", ASKED[0])])
def test_a_training_set_is_the_one_that_one_machine_makes(
    root: str, spark: Any, mode: Any, asked: dict[str, Any]
) -> None:
    request = Request("Buys", mode, **asked)
    near = dataset.build(PLAN, request, FeatureLog(root), never)
    far = spark_dataset.build(PLAN, request, root, spark)
    assert all(table.num_rows for table in near.parts.values())
    same(far, near)
    if mode == "as_known":
        assert near.manifest["journal"]["last"] >= 0


@pytest.fixture
def cut(root: str, tmp_path: Path) -> FeatureLog:
    """The log without its first hour of views."""
    shutil.copytree(root, tmp_path / "log")
    log = FeatureLog(tmp_path / "log")
    rewriting.cut(log, "shop.views", rewriting.cut_offsets(log, "shop.views", FIRST_US + 3_600_000_000))
    return log


def last_of(whole: dataset.Dataset, near: dataset.Dataset) -> pa.Table:
    """As many rows of the whole as are left."""
    assert near.counts["history_cut_off"] > 100
    assert len(near.parts["rows"]) > 100
    return whole.parts["rows"].slice(len(whole.parts["rows"]) - len(near.parts["rows"]))


def test_a_log_that_lacks_events_is_told_as_on_one_machine(root: str, spark: Any, cut: FeatureLog) -> None:
    request = Request("Buys", "point_in_time")
    whole = dataset.build(PLAN, request, FeatureLog(root), never)
    near = dataset.build(PLAN, request, cut, never)
    assert near.parts["rows"].equals(last_of(whole, near))
    rewriting.cut(cut, "shop.orders", rewriting.cut_offsets(cut, "shop.orders", FIRST_US + 9_000 * harness.SECOND_US))
    near, far = dataset.build(PLAN, request, cut, never), spark_dataset.build(PLAN, request, cut.storage.root, spark)
    same(far, near)
    assert near.counts["labels_cut_off"] > 100
    shutil.rmtree(f"{cut.storage.root}/shop.prices")
    with pytest.raises(FeatureLogError, match=r"no batch of shop.prices"):
        spark_dataset.build(PLAN, request, cut.storage.root, spark)


def test_what_was_applied_before_a_cut_is_left_out_as_on_one_machine(
    root: str, spark: Any, cut: FeatureLog, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(
        SHOP.read_text().replace('"1d"', '"1h"')
    )  # nothing reaches back further than an hour
    plan, request = compile_app(load(str(tmp_path / "shop.py"))), Request("Buys", "as_known")
    whole = dataset.build(plan, request, FeatureLog(root), never)
    near, far = dataset.build(plan, request, cut, never), spark_dataset.build(plan, request, cut.storage.root, spark)
    same(far, near)
    assert near.parts["rows"].equals(last_of(whole, near))


def test_whom_the_log_forgot_spark_leaves_out_as_one_machine_does(root: str, spark: Any, tmp_path: Path) -> None:
    module, folder = tmp_path / "shop.py", str(tmp_path / "log")
    module.write_text(SHOP.read_text().replace("user: Field[str] = key()", "user: Field[str] = key(pii=True)"))
    plan = compile_app(load(str(module)))
    shutil.copytree(root, folder)
    log = FeatureLog(folder)
    before = profiles(plan.models["Buys"], folder, spark)["views"].n
    erasure.forget(plan, log, "user", "u3")
    for mode in ("served", "as_known"):
        request = Request("Buys", mode)
        near, far = dataset.build(plan, request, log, never), spark_dataset.build(plan, request, folder, spark)
        same(far, near)
        assert near.counts["erased"] > 0
        assert not any(
            entity == "u3" or entity.startswith("erased-") for entity in far.parts["rows"]["entity"].to_pylist()
        )
        gone = near.counts["erased"]
        if mode == "served":
            assert profiles(plan.models["Buys"], folder, spark)["views"].n == before - gone


def asked_rows(folder: Path, count: int = 300) -> Path:
    """Keys and instants of a user's own, with nothing in the log that says them; in no order."""
    draw = random.Random(5)
    lines = [
        f"u{draw.randrange(6)},p{draw.randrange(3)},{FIRST_US + draw.randrange(20_000 * harness.SECOND_US)}"
        for _ in range(count)
    ]
    (folder / "asked.csv").write_text("\n".join(["user,product,at", *lines]))
    return folder / "asked.csv"


EARLIER_US = FIRST_US + 9_000 * harness.SECOND_US


@pytest.mark.parametrize(("mode", "as_of_us"), [("as_known", EARLIER_US), ("point_in_time", EARLIER_US)])
def test_rows_of_ones_own_are_answered_as_on_one_machine(
    root: str, spark: Any, tmp_path: Path, mode: Any, as_of_us: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged_on_spark, "TASK_EVENTS", 500)  # several tasks
    monkeypatch.setattr(log_source, "GROUP_EVENTS", 200)
    request = Request("Buys", mode, as_of_us=as_of_us, rows=str(asked_rows(tmp_path)))
    near = dataset.build(PLAN, request, FeatureLog(root), never)
    far = spark_dataset.build(PLAN, request, root, spark)
    same(far, near)
    assert near.parts["rows"]["row"].to_pylist() == list(range(300))
    assert len(set(near.parts["rows"]["views"].to_pylist())) > 3


def test_rows_of_a_spark_data_frame(root: str, spark: Any, tmp_path: Path) -> None:
    path = asked_rows(tmp_path, 50)
    frame = spark.read.csv(str(path), header=True, inferSchema=True)
    found = vectors_at(SHOP, "Buys", frame, log=root, mode="as_known", spark=spark)
    assert found.equals(vectors_at(SHOP, "Buys", path, log=root, mode="as_known"))


def test_a_field_that_the_log_does_not_know_holds_its_default(root: str, spark: Any, tmp_path: Path) -> None:
    source = SHOP.read_text()
    for before, more in (
        (
            "    seconds: Field",
            "    spent: Field[float] = field(default=7.0)\n    tags: Field[list[str]] = field(default=['a', 'b'])\n",
        ),
        (
            "    mean_seconds_1h",
            '    spent_10m = View.spent.sum(over="10m")\n    tags_10m = View.tags.length().sum(over="10m")\n',
        ),
        ("    bought = ", "    spent = UserNow.spent_10m\n    tags = UserNow.tags_10m\n"),
    ):
        assert source.count(before) == 1
        source = source.replace(before, more + before)
    (tmp_path / "shop.py").write_text(source)
    plan, request = compile_app(load(str(tmp_path / "shop.py"))), Request("Buys", "point_in_time")
    near, far = dataset.build(plan, request, FeatureLog(root), never), spark_dataset.build(plan, request, root, spark)
    same(far, near)
    rows = near.parts["rows"].to_pylist()
    assert any(row["views"] for row in rows)
    assert all(row["spent"] == (7.0 * row["views"] or None) for row in rows)
    assert all(row["tags"] == (2 * row["views"] or None) for row in rows)


def test_what_spark_does_not_compute_is_refused(root: str, spark: Any, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "log")
    shutil.rmtree(tmp_path / "log" / PLAN.journal)  # as an older version wrote it
    with pytest.raises(TrainingError, match=r"(?s)does not hold the journal.*Hint"):
        spark_dataset.build(PLAN, Request("Buys", "as_known"), str(tmp_path / "log"), spark)
    with pytest.raises(TrainingError, match="rows of your own were never served"):
        spark_dataset.build(PLAN, Request("Buys", rows="asked.csv"), root, spark)
    with pytest.raises(TrainingError, match="the feature log holds no vectors"):
        spark_dataset.build(PLAN, Request("Buys"), str(tmp_path), spark)
    with pytest.raises(TrainingError, match="no vector in this range"):
        spark_dataset.build(PLAN, Request("Buys", to_us=FIRST_US - 10**12), root, spark)
    with pytest.raises(FeatureLogError, match="the log holds no vectors"):
        profiles(MODEL, str(tmp_path), spark)


def test_a_corrupt_file_is_told_by_spark_too(root: str, spark: Any, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "log")
    (path, *_) = FeatureLog(tmp_path / "log").files("shop.views")
    Path(path).write_bytes(Path(path).read_bytes()[:-1])
    ranges = FeatureLog(root).ranges("shop.views")
    with pytest.raises(Exception, match="altered or torn"):
        log_frames.frame(spark, str(tmp_path / "log"), "shop.views", ranges).count()


def reference(root: str) -> dict[str, Any]:
    """By input, the profile of all vectors at once, in the order in which their files stand."""
    log = FeatureLog(root)
    files = sorted(log.in_force(MODEL.topics["features"]), key=lambda file: (sorted(file.offsets.items()), file.path))
    schema = log.batches(MODEL.topics["features"])[-1].schema
    table = pa.concat_tables([log.decoded(MODEL.topics["features"], file, schema, {}) for file in files])
    found = {}
    for name, value in MODEL.outputs.items():
        column = cols.from_arrow(table[name], value.kind)
        found[name] = profile_of(column.values, column.valid)
    return found


def check_profiles(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, profile in expected.items():
        mine = found[name]
        assert isinstance(profile, NumericProfile)
        same = ("n", "nulls", "zeros", "min", "max", "repeats", "longest_run", "first_run", "last_run")
        assert {part: getattr(mine, part) for part in same} == {part: getattr(profile, part) for part in same}
        assert (mine.counts == profile.counts).all()
        assert (mine.registers == profile.registers).all()
        assert np.isclose(mine.sum, profile.sum, rtol=1e-12)


def submit(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a user types, with Spark's two local threads."""
    script = Path(sys.executable).with_name("spark-submit")
    ask = [sys.executable, "-m", "samestream.trainers.spark_job", "--where"]
    job = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # it does not live long
    }
    conf = [f"--conf={name}={value}" for name, value in settings.items()]
    with spark_session.java_home() as java:
        told = {"JAVA_HOME": java, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_DIRS": tmp_path / "spark"}
        # what a Spark in this process has set would be taken for that of the job
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
        return subprocess.run(
            [str(script), "--master", "local[2]", *conf, job, *arguments],
            env={**mine, **{name: str(value) for name, value in told.items()}},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )


def test_spark_submit_writes_a_training_set_with_the_digest_of_one_machine(
    root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--log", root, "--out", str(tmp_path / "set"), "--mode", "point_in_time", "--split", "2023-11-15T00:00:00")
    done = submit(tmp_path, "training-set", str(SHOP), "Buys", *asked)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = json.loads((tmp_path / "set/manifest.json").read_text())
    split_us = FIRST_US - FIRST_US % 86_400_000_000 + 86_400_000_000
    near = dataset.build(PLAN, Request("Buys", "point_in_time", splits_us=(split_us,)), FeatureLog(root), never)
    assert manifest["digest"] == near.digest
    assert f"digest {near.digest}" in done.stdout
    for name, table in near.parts.items():
        assert pq.read_table(tmp_path / f"set/{name}.parquet").equals(table)
    assert spark_job.main(["training-set", str(SHOP), "Buys", *asked]) == 1
    assert "there is something already" in capsys.readouterr().err


def test_spark_submit_writes_the_profiles_of_one_machine(root: str, tmp_path: Path) -> None:
    done = submit(tmp_path, "profiles", str(SHOP), "Buys", "--log", root, "--out", str(tmp_path / "profiles.json"))
    assert done.returncode == 0, done.stderr[-3000:]
    stored = json.loads((tmp_path / "profiles.json").read_text())
    check_profiles({name: NumericProfile.from_json(part) for name, part in stored.items()}, reference(root))


def test_the_job_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert spark_job.main(["--where"]) == 0
    assert Path(capsys.readouterr().out.strip()).samefile(spark_job.__file__)
