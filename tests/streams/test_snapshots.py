"""Snapshot files and the folder that holds them: whole or found out; the newest that fits; what is of something else."""

from __future__ import annotations

import errno
import logging
import os
import random
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from samestream.schemas.errors import RecoveryError
from samestream.streams.engine import snapshot_file, value_arrays
from samestream.streams.engine.snapshot_file import Manifest, SnapshotDamagedError
from samestream.streams.engine.snapshots import KEPT, Snapshots, code_of


class Counter:
    """A task whose state is a number, in as many bytes as wished."""

    name, layout = "counter", "1"

    def __init__(self, fingerprint: str = "f1", size: int = 3) -> None:
        self.fingerprint, self.count = fingerprint, np.zeros(size, np.int64)

    def state(self) -> dict[str, NDArray[Any]]:
        return {"count": self.count}

    def state_bytes(self) -> int:
        return self.count.nbytes

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.count = arrays["count"]


def manifest(sequence: int, task: Counter) -> Manifest:
    return Manifest(task.name, task.fingerprint, task.layout, "x86", "2", sequence, "", {}, [], {}, {})


def take(snapshots: Snapshots, sequence: int, task: Counter) -> None:
    snapshots.take(task, manifest(sequence, task))
    snapshots.finish(task)


def restored(folder: Path, task: Counter | None = None, belongs: bool = True) -> tuple[int, Counter]:
    task = task or Counter()
    found = Snapshots(folder, "app.counter").restore(task, lambda _: belongs)
    return (found.sequence if found else 0), task


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "app.counter").iterdir())


@pytest.fixture(params=["copied", "forked"])
def snapshots(request: pytest.FixtureRequest, tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path, "app.counter", copied_bytes=0 if request.param == "forked" else 10**9)


def test_a_snapshot_is_of_the_instant_it_was_taken(snapshots: Snapshots, tmp_path: Path) -> None:
    task = Counter(size=2_000_000)
    task.count[:] = 7
    snapshots.take(task, manifest(5, task))
    task.count[:] = 8  # the stream goes on meanwhile
    snapshots.finish(task)
    sequence, found = restored(tmp_path)
    assert sequence == 5
    assert set(found.count.tolist()) == {7}
    assert snapshots.taken == 1
    assert snapshots.last_bytes > 16_000_000
    assert 0 < snapshots.pause_s < 5


def test_the_newest_are_kept_and_one_of_another_definition(snapshots: Snapshots, tmp_path: Path) -> None:
    for sequence in (1, 2):
        take(snapshots, sequence, Counter("f0"))
    for sequence in (3, 4, 5):
        take(snapshots, sequence, Counter())
    assert files(tmp_path) == ["000000000002-f0.npz", "000000000004-f1.npz", "000000000005-f1.npz"]
    assert KEPT == 2
    assert restored(tmp_path)[0] == 5
    assert restored(tmp_path, Counter("f0"))[0] == 2


def test_another_definition_is_refused_with_the_remedy(snapshots: Snapshots, tmp_path: Path) -> None:
    take(snapshots, 3, Counter("f0"))
    with pytest.raises(RecoveryError) as refused:
        restored(tmp_path)
    assert str(refused.value) == "\n".join(
        [
            f"counter, {tmp_path}/app.counter: the snapshots are of another definition, whose state means something else",
            f"Found: fingerprint f0 (CPU x86, here {os.uname().machine})",
            "Expected: f1",
            "Hint: if the change is intended, `samestream rebuild MODULE` makes the state anew from journal and log.",
        ]
    )
    assert Snapshots(tmp_path, "app.counter").discard() == 1
    assert restored(tmp_path)[0] == 0


def test_another_journal_or_layout_is_passed_over(snapshots: Snapshots, tmp_path: Path, caplog: Any) -> None:
    task = Counter()
    task.count[:] = 3
    take(snapshots, 3, task)
    assert restored(tmp_path, belongs=False)[0] == 0
    assert "not of this journal" in caplog.text
    other = Counter()
    other.layout = "2"
    with caplog.at_level(logging.INFO):
        assert restored(tmp_path, other)[0] == 0
    assert "another version of samestream" in caplog.text


@pytest.mark.parametrize("round", range(3))
def test_any_damage_is_found_out(tmp_path: Path, round: int) -> None:
    draw, path = random.Random(round), tmp_path / "1.npz"
    arrays = {"a": np.arange(300), "b": np.zeros(0), **value_arrays.pack({"x": [1, "y"]})}
    whole = manifest(1, Counter())
    snapshot_file.write(path, whole, arrays)
    found, back = snapshot_file.read(path)
    assert found == whole
    assert {name: array.tolist() for name, array in back.items()} == {n: array.tolist() for n, array in arrays.items()}
    content = path.read_bytes()
    harmless = 0
    for _ in range(60):
        torn, at = bytearray(content), draw.randrange(len(content))
        if draw.random() < 0.3:
            del torn[at:]
        else:
            torn[at] ^= 1 << draw.randrange(8)
        path.write_bytes(torn)
        try:
            again, back = snapshot_file.read(path)
        except SnapshotDamagedError:
            continue
        else:  # a bit of the archive's own that nobody reads, such as a time stamp
            harmless += 1
            assert again == whole
            assert {name: array.tolist() for name, array in back.items()} == {
                name: array.tolist() for name, array in arrays.items()
            }
    assert harmless < 30


def test_a_damaged_one_falls_back_to_an_older_one_and_then_to_none(
    snapshots: Snapshots, tmp_path: Path, caplog: Any
) -> None:
    for sequence in (1, 2):
        take(snapshots, sequence, Counter())
    newest, oldest = (tmp_path / "app.counter" / f"{number:012d}-f1.npz" for number in (2, 1))
    newest.write_bytes(newest.read_bytes()[:-40])
    assert restored(tmp_path)[0] == 1
    assert "a snapshot is damaged" in caplog.text
    oldest.write_bytes(b"")
    assert restored(tmp_path)[0] == 0


def test_a_full_disk_stops_nothing(
    snapshots: Snapshots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    task = Counter()
    take(snapshots, 1, task)
    with monkeypatch.context() as full:

        def no_space(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        full.setattr(os, "fsync", no_space)
        take(snapshots, 2, task)
        take(snapshots, 3, task)
    assert (snapshots.taken, snapshots.failed) == (1, 2)
    assert caplog.text.count("No space left") == 1, "said once"
    assert files(tmp_path) == ["000000000001-f1.npz"], "nothing is left behind"
    take(snapshots, 4, task)
    assert restored(tmp_path)[0] == 4


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "state").write_text("a file")
    snapshots = Snapshots(tmp_path / "state", "app.counter")
    take(snapshots, 1, Counter())
    assert snapshots.failed == 1
    assert "no snapshot could be taken" in caplog.text


def test_a_state_that_no_array_can_hold_is_said_so(tmp_path: Path, caplog: Any) -> None:
    class Odd(Counter):
        def state(self) -> dict[str, NDArray[Any]]:
            return value_arrays.pack([object()])

    for copied in (0, 10**9):
        snapshots = Snapshots(tmp_path, "app.counter", copied_bytes=copied)
        take(snapshots, 1, Odd())
        assert snapshots.failed == 1
    assert caplog.text.count("what a snapshot cannot keep") == 2


def test_a_killed_writer_leaves_nothing_that_counts(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, "app.counter", copied_bytes=0)
    task = Counter(size=1000)

    class Slow(Counter):
        def state(self) -> dict[str, NDArray[Any]]:
            time.sleep(60)
            return {}

    take(snapshots, 1, task)
    slow = Slow()
    snapshots.take(slow, manifest(2, slow))
    pid = snapshots._writing.pid  # type: ignore[union-attr]
    os.kill(pid, 9)
    snapshots.finish(slow)
    assert snapshots.failed == 1
    assert restored(tmp_path)[0] == 1


def test_it_is_due_again_after_a_while(tmp_path: Path) -> None:
    never, often = Snapshots(tmp_path, "a", every_s=0), Snapshots(tmp_path, "b", every_s=0.01)
    assert not never.is_due
    deadline_s = time.monotonic() + 5
    while not often.is_due and time.monotonic() < deadline_s:
        time.sleep(0.005)
    assert often.is_due
    take(often, 1, Counter())


def test_the_code_tells_layouts_apart(tmp_path: Path) -> None:
    assert code_of(snapshot_file) == code_of(snapshot_file)
    assert code_of(snapshot_file) != code_of(value_arrays)
    assert replace(manifest(1, Counter()), layout="x") != manifest(1, Counter())
