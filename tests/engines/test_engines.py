"""Every engine returns the oracle's value: the same test on each."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import harness
import oracle
import pytest
from engines import check
from harness import PLAN, SECOND_US, START_US
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Read

from samestream.streams.transport import Outgoing


def test_a_disordered_log(engine: Any, tmp_path: Path) -> None:
    log = check(harness.shop_events(800, seed=3), engine, tmp_path)
    assert {read.decision for read in log} == {"applied", "late", "behind_state"}


def view(
    user: str, second: float, *, known: float | None = None, seconds: float | None = 1.0, product: str = "p"
) -> Outgoing:
    at = START_US + round(second * SECOND_US)
    known_us = START_US + round((second if known is None else known) * SECOND_US)
    return harness.encode(PLAN, "View", user, known_us, user=user, product=product, seconds=seconds, at=at)


def price(product: str, second: float, cents: int) -> Outgoing:
    at = START_US + round(second * SECOND_US)
    return harness.encode(PLAN, "Price", product, at, product=product, cents=cents, at=at)


def test_an_event_at_the_very_instant_is_not_in_the_window(engine: Any, tmp_path: Path) -> None:
    # both views of u at second 5: neither sees the other; the one a microsecond later sees both
    check([view("u", 5), view("u", 5, known=5.001), view("u", 5.000001, known=5.002)], engine, tmp_path)


def test_the_tail_is_floored_and_the_head_exact(engine: Any, tmp_path: Path) -> None:
    # 10m in tiles of 5s: START_US is a whole tile, so a view at +2.5 is still counted at +602, and no more at +605.1
    check([view("u", 2.5), view("u", 602), view("u", 605.1)], engine, tmp_path)


def test_nulls_and_empty_windows(engine: Any, tmp_path: Path) -> None:
    check(
        [view("u", 1, seconds=None), view("u", 2), view("v", 3, product="unpriced"), price("p", 4, 7), view("u", 5)],
        engine,
        tmp_path,
    )


def test_what_comes_late_is_not_counted_and_what_comes_early_is_not_seen(engine: Any, tmp_path: Path) -> None:
    log = check(
        [view("u", 100), view("u", 30, known=101), view("u", 50, known=102), view("u", 101, known=103)],
        engine,
        tmp_path,
    )
    assert [read.decision for read in log] == ["applied", "late", "applied", "applied"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), count=st.integers(1, 150), spread=st.sampled_from([1, 60, 600, 7200]))
def test_any_log(engine: Any, tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, spread: int) -> None:
    draw = random.Random(seed)
    second, records = 0.0, []
    for _ in range(count):
        second += draw.choice([0, 0, 0.001, draw.random() * spread])
        at = second - draw.choice([0, 0, draw.random() * spread])
        if draw.random() < 0.75:
            seconds = draw.choice([None, 0.0, -0.0, 1e16, draw.uniform(-1, 1)])
            records.append(
                view(f"u{draw.randrange(3)}", at, known=second, seconds=seconds, product=f"p{draw.randrange(2)}")
            )
        else:
            cents = draw.choice([0, -1, 2**62, draw.randrange(100)])
            records.append(
                price(f"p{draw.randrange(2)}", at, cents)._replace(known_us=START_US + round(second * SECOND_US))
            )
    check(records, engine, tmp_path_factory.mktemp("log"))


def test_the_oracle_orders_by_running_known_time() -> None:
    def read(topic: str, offset: int, known: int) -> Read:
        return Read("View", topic, 0, offset, known, {})

    log = [read("a", 0, 10), read("a", 1, 5), read("b", 0, 7), read("b", 1, 10)]
    assert [(each.topic, each.offset) for each in oracle.in_order(log)] == [("b", 0), ("a", 0), ("a", 1), ("b", 1)]
