"""What the job for spark-submit refuses, before Spark is started."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import MagicMock

import harness
import pytest

from samestream.trainers import spark_job

SHOP = str(Path(harness.__file__).with_name("shop.py"))


@pytest.fixture(autouse=True)
def no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_job.spark_session, "submitted", lambda _: pytest.fail("Spark was started"))


@pytest.mark.parametrize("option", ["--split", "--from", "--to", "--as-of"])
def test_a_time_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str) -> None:
    with pytest.raises(SystemExit) as left:
        spark_job.main(["training-set", SHOP, "Buys", "--log", "log", "--out", str(tmp_path / "made"), option, "noon"])
    assert left.value.code == 2
    assert "a time is not understood: noon. Hint: write 2013-02-01" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["training-set", "profiles"])
@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("Sells", (), "MODEL: no such model. Found: Sells. Expected: Buys."),
        ("Buys", ("--from", "2023-11-15", "--to", "2023-11-14"), "--to: the range is empty."),
    ],
)
def test_a_model_or_range_that_is_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str, model: str, options: tuple[str, ...], message: str
) -> None:
    arguments = [what, SHOP, model, "--log", "log", "--out", str(tmp_path / "made"), *options]
    assert spark_job.main(arguments) == 1
    assert f"error: {message}" in capsys.readouterr().err


def test_places_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert spark_job.main(["training-set", SHOP, "Buys", "--log", "log", "--out", str(tmp_path)]) == 1
    assert "there is something already" in capsys.readouterr().err
    assert spark_job.main(["profiles", SHOP, "Buys", "--log", "log", "--out", str(tmp_path / "no" / "made")]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_profiles_replace_a_file_when_they_are_told_to(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "profiles.json"
    made.write_text("mine")
    arguments = ["profiles", SHOP, "Buys", "--log", "log", "--out", str(made)]
    assert spark_job.main(arguments) == 1
    assert (
        "there is something already. Hint: name another file with --out, or add --overwrite." in capsys.readouterr().err
    )
    assert made.read_text() == "mine"
    monkeypatch.setattr(spark_job.spark_session, "submitted", lambda _: MagicMock())
    monkeypatch.setattr(spark_job, "profiles", lambda *_: {})
    assert spark_job.main([*arguments, "--overwrite"]) == 0
    assert made.read_text() == "{}\n"
