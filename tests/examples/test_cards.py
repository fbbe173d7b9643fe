"""The card example, tested as its author would."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from samestream.examples import cards
from samestream.examples.cards import Channel, Merchant, Payment, WhoPays
from samestream.testing import AppTest


@pytest.fixture
def app() -> Iterator[AppTest]:
    with AppTest(cards, day="2026-05-01") as app:
        for number, (category, country) in enumerate([("fuel", "DE"), ("travel", "US")]):
            app.send(Merchant(merchant_id=number, category=category, country=country), known=app.at("00:00"))
        yield app


def pay(app: AppTest, number: int, clock: str, merchant: int, amount: str, *, card: str = "c1") -> Payment:
    return Payment(
        payment_id=number,
        card_id=card,
        merchant_id=merchant,
        amount=Decimal(amount),
        channel=Channel.CHIP if merchant == 0 else Channel.ONLINE,
        at=app.at(clock),
    )


def test_a_spree_ends_after_a_quarter_of_an_hour(app: AppTest) -> None:
    app.send(
        pay(app, 1, "08:00", 0, "50"),
        pay(app, 2, "10:00", 0, "20"),
        pay(app, 3, "10:14", 0, "90"),
        pay(app, 4, "10:28", 1, "10"),
    )
    app.expect(WhoPays, 4, spree_payments=2, spree_greatest=90.0, card_payments_24h=3, card_idle=14 * 60.0)


def test_what_is_usual_where_the_card_is_used(app: AppTest) -> None:
    app.send(
        pay(app, 1, "08:00", 0, "40", card="c2"),
        pay(app, 2, "08:10", 0, "60"),
        pay(app, 3, "09:00", 1, "300", card="c2"),
        pay(app, 4, "10:00", 1, "600"),
    )
    app.expect(
        WhoPays,
        4,
        category="travel",
        to_category=2.0,
        to_usual=10.0,
        card_home_country="DE",
        is_abroad=True,
        card_merchants_24h=1,
        visits=0,
        channel="online",
        category_online=1.0,
    )


def test_a_merchant_that_changes_its_trade_takes_its_past_not_along(app: AppTest) -> None:
    app.send(pay(app, 1, "08:00", 0, "40"))
    app.send(Merchant(merchant_id=0, category="travel", country="DE"), known=app.at("09:00"))
    app.send(pay(app, 2, "10:00", 0, "80"))
    app.expect(WhoPays, 2, category="travel", to_category=None, visits=1)
