"""The port of Chronon's quickstart, tested as its author would; and what its docstring says by count."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from samestream.examples import checkouts
from samestream.examples.checkouts import Checkout, Purchase, Return, SentBack, User
from samestream.testing import AppTest


@pytest.fixture
def app() -> Iterator[AppTest]:
    with AppTest(checkouts, day="2026-05-01") as app:
        yield app


def bought(app: AppTest, price: str, day: int) -> Purchase:
    return Purchase(user_id="ann", price=Decimal(price), at=app.at("10:00", day=day))


def test_purchases_and_returns_of_three_windows_and_the_account(app: AppTest) -> None:
    app.send(
        User(user_id="ann", created=datetime(2026, 4, 1, tzinfo=UTC), email_verified=False),
        known=app.at("09:00"),
    )
    app.send(
        bought(app, "10.00", day=1),
        bought(app, "30.50", day=9),
        bought(app, "5.25", day=18),
        Return(user_id="ann", refund=Decimal("30.50"), at=app.at("12:00", day=18)),
        Checkout(order_id=1, user_id="ann", at=app.at("12:00", day=19)),
        Checkout(order_id=2, user_id="bob", at=app.at("12:00", day=19)),
    )
    app.expect(
        SentBack,
        1,
        bought_total_3d=5.25,
        bought_total_14d=35.75,
        bought_total_30d=45.75,
        bought_number_14d=2,
        bought_average_30d=45.75 / 3,
        newest_price=5.25,
        returned_number_3d=1,
        newest_refund=30.5,
        account_email_verified=False,
        account_age=(31 + 18 - 1) * 86_400.0 + 12 * 3_600.0,
    )
    app.expect(SentBack, 2, bought_number_30d=0, bought_total_30d=None, account_email_verified=None)


def lines_of_code(source: str) -> int:
    """Lines that are neither blank, nor comments, nor docstrings."""
    told: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef) and ast.get_docstring(node) is not None:
            told |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") and at not in told for at, line in lines)


def test_it_is_as_short_as_it_says() -> None:
    source = Path(checkouts.__file__).read_text()
    assert f"all of this file takes {lines_of_code(source)}" in " ".join((checkouts.__doc__ or "").split())
    assert lines_of_code(source) < 132
