"""Expressions in conditions, aggregates and inputs, through the engine that runs in production."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import expression_shop
from expression_shop import Colour, Late, Order

from samestream.testing import AppTest


def test_expressions_are_computed_online():
    # the clocks of New York go forward at 07:00 UTC on this day: 06:50 UTC is 01:50 there, 07:10 is 03:10
    with AppTest(expression_shop, day="2026-03-08") as app:
        for number, at in enumerate(("06:50", "06:53", "07:10")):
            app.send(
                Order(
                    id=f"o{number}é",
                    user="u",
                    n=number,
                    x=None,
                    price=Decimal("1.25"),
                    colour=Colour.RED if number else Colour.BLUE,
                    tags=["sale"] if number else [],
                    props={"w": 3.0} if number else {},
                    born=date(2026, 3, 1),
                    at=app.at(at),
                )
            )
        first, second, third = (vector.values for vector in app.vectors(Late))
    calendar = {"hour": 7, "age": 7, "bucket": 6}
    assert first == {"nightly": 0, "red": 0.0, "ln": None, "sale": 0, "last": None, "tag": None, **calendar}
    assert second == {"nightly": 1, "red": 0.0, "ln": 3.0, "sale": 0, "last": "O0é", "tag": "sale", **calendar}
    assert third == {
        "nightly": 2,
        "red": 1.2,
        "ln": 3.0,
        "sale": 1,
        "last": "O1é",
        "tag": "sale",
        **calendar | {"hour": 8},
    }
