"""Vectors at any keys and instants, from data frames and files, as of now and as of an earlier time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import harness
import pandas as pd
import pyarrow as pa
import pytest
import shop as shop_module
from harness import SECOND_US, START_US

from samestream.schemas.errors import TrainingError
from samestream.trainers import vectors_at

MINUTE_US = 60 * SECOND_US


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user looks at a product for two seconds; and once more, but that was known an hour later. Nothing was served."""

    def view(at_us: int, known_us: int):
        values = {"user": "u", "product": "p", "seconds": 2.0, "at": at_us}
        return harness.encode(harness.PLAN, "View", "u", known_us, **values)

    transport = harness.fresh()
    harness.send(transport, [view(START_US, START_US + 1000), view(START_US + 1, START_US + 60 * MINUTE_US)])
    folder = tmp_path_factory.mktemp("log")
    harness.write_log(transport, harness.FeatureLog(folder))
    return folder


INSTANT = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=START_US + MINUTE_US)  # noqa: UP017
ROWS = {"user": ["u", "nobody", "u"], "product": ["p"] * 3, "at": [INSTANT, INSTANT, INSTANT - timedelta(minutes=1)]}


@pytest.mark.parametrize("frame", [pd.DataFrame, pa.table])
def test_of_a_data_frame(log: Path, frame: type) -> None:
    found = vectors_at(shop_module, "Buys", frame(ROWS), log=log)
    assert found["row"].to_pylist() == [0, 1, 2]
    assert found["entity"].to_pylist() == ROWS["user"]
    assert found["views"].to_pylist() == [2, 0, 0]  # the third is asked for at the very instant of the first view
    assert set(found["_label_state"].to_pylist()) == {"horizon_not_over"}


def test_as_of_an_earlier_time_and_of_a_file(log: Path, tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_parquet(tmp_path / "asked.parquet")
    hour = timedelta(hours=1)
    text = INSTANT.isoformat()  # with its zone; and without, as UTC
    for as_of, views in ((None, 2), (INSTANT + hour, 2), (INSTANT, 1), (text, 1), (text.partition("+")[0], 1)):
        found = vectors_at(shop_module, "Buys", tmp_path / "asked.parquet", log=log, as_of=as_of)
        assert found["views"].to_pylist()[0] == views


def test_what_does_not_fit_is_told(log: Path) -> None:
    for rows, model, as_of, message in (
        ([1, 2], "Buys", None, "these are no rows"),
        (pd.DataFrame({"user": ["u"]}), "Buys", None, "the rows lack columns"),
        (pd.DataFrame(ROWS), "Sells", None, "no such model"),
        (pd.DataFrame(ROWS), "Buys", datetime(2024, 1, 1), "the instant has no time zone"),
        (pd.DataFrame(ROWS), "Buys", "noon", "a time is not understood"),
        (pd.DataFrame(ROWS), "Buys", 5, "this is no instant"),
        ("nowhere.csv", "Buys", None, "the rows cannot be read"),
    ):
        with pytest.raises(TrainingError, match=message) as told:
            vectors_at(shop_module, model, rows, log=log, as_of=as_of)
        assert "Hint:" in str(told.value)
