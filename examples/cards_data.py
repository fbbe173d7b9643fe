"""Synthetic card payments: cards with habits, merchants with a trade, and two ways of fraud that leave different traces.

Three weeks, 150 cards, 60 merchants, about 9,000 payments, all drawn from one seed. What there is to find:

- An *owner* pays at a handful of merchants, mostly at home, with a chip or contactless, about as much as usual there.
- A *thief* has the card itself: within minutes several contactless payments at shops that the card has never seen.
- A *copy* of the card pays online: one to three large amounts, abroad, at electronics or travel merchants.
- Each payment is ruled on one to three days later; one in twenty never is.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from samestream.examples.cards import Channel, Merchant, Payment, Ruling, Verdict
from samestream.examples.event_batch import EventBatch, in_batches, split
from samestream.schemas import Event

START = datetime(2025, 3, 3, tzinfo=UTC)
DAYS = 21
TRAINING_DAYS = 14
CARDS = 150
MERCHANTS = 60
CATEGORIES = {
    "groceries": 35.0,
    "fuel": 60.0,
    "restaurant": 28.0,
    "clothes": 80.0,
    "electronics": 240.0,
    "travel": 310.0,
}
COUNTRIES = ("DE", "FR", "IT", "US")
RELEASED = ("the first two weeks", "the third week")

Happened = list[tuple[Event, datetime]]


class Town:
    """Draws what happens, one payment after the other."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.happened: Happened = []
        self.number = 0
        names = list(CATEGORIES)
        self.merchants = [
            (names[number % len(names)], COUNTRIES[0] if self.draw.random() < 0.6 else self.draw.choice(COUNTRIES[1:]))
            for number in range(MERCHANTS)
        ]

    def open_shops(self) -> None:
        """Every merchant is known before the first payment; one changes its trade in the second week."""
        for number, (category, country) in enumerate(self.merchants):
            self.happened.append((Merchant(merchant_id=number, category=category, country=country), START))
        moved = Merchant(merchant_id=0, category="restaurant", country=self.merchants[0][1])
        self.happened.append((moved, START + timedelta(days=8)))

    def pay(self, card: int, at: datetime, merchant: int, factor: float, channel: Channel, verdict: Verdict) -> None:
        """One payment, known within seconds or, one in thirty, minutes; and its ruling."""
        self.number += 1
        usual = CATEGORIES[self.merchants[merchant][0]] * factor * self.draw.lognormvariate(0, 0.4)
        late_s = self.draw.uniform(60, 400) if self.draw.random() < 1 / 30 else self.draw.uniform(0, 3)
        payment = Payment(
            payment_id=self.number,
            card_id=f"c{card:03}",
            merchant_id=merchant,
            amount=Decimal(round(usual * 100)).scaleb(-2),
            channel=channel,
            at=at,
        )
        self.happened.append((payment, at + timedelta(seconds=late_s)))
        if self.draw.random() < 0.95:
            ruled = at + timedelta(days=self.draw.uniform(1, 3))
            ruling = Ruling(payment_id=self.number, verdict=verdict, at=ruled)
            self.happened.append((ruling, ruled + timedelta(seconds=self.draw.uniform(0, 60))))

    def live(self, card: int) -> None:
        """Three weeks of a card: its owner's habits, and at times somebody else."""
        at_home = [number for number, (_, country) in enumerate(self.merchants) if country == COUNTRIES[0]]
        known = self.draw.sample(at_home, 5)
        thrift = self.draw.lognormvariate(0, 0.3)
        for day in range(DAYS):
            for _ in range(self.draw.randrange(1, 4)):
                at = self._clock(day)
                merchant = self.draw.choice(known) if self.draw.random() < 0.9 else self.draw.randrange(MERCHANTS)
                channel = self.draw.choices(list(Channel), [0.5, 0.4, 0.1])[0]
                self.pay(card, at, merchant, thrift, channel, Verdict.OWNER)
            chance = self.draw.random()
            if chance < 0.03:
                at = self._clock(day)
                for _ in range(self.draw.randrange(3, 7)):
                    merchant = self.draw.randrange(MERCHANTS)
                    self.pay(card, at, merchant, 1.0, Channel.CONTACTLESS, Verdict.THIEF)
                    at += timedelta(seconds=self.draw.uniform(60, 400))
            elif chance < 0.08:
                at = self._clock(day)
                dear = [
                    number
                    for number, (category, country) in enumerate(self.merchants)
                    if category in ("electronics", "travel") and country != COUNTRIES[0]
                ]
                for _ in range(self.draw.randrange(1, 4)):
                    self.pay(card, at, self.draw.choice(dear), 2.0, Channel.ONLINE, Verdict.COPY)
                    at += timedelta(minutes=self.draw.uniform(2, 90))

    def _clock(self, day: int) -> datetime:
        return START + timedelta(days=day, seconds=self.draw.triangular(7, 23, 17) * 3600)


def load(seed: int = 7) -> dict[str, EventBatch]:
    """Merchants, payments and rulings, each ordered by known time; the same for the same seed."""
    town = Town(seed)
    town.open_shops()
    for card in range(CARDS):
        town.live(card)
    return in_batches(town.happened)


def releases(seed: int = 7) -> tuple[dict[str, EventBatch], dict[str, EventBatch]]:
    """What is known in the days that train, and what comes after."""
    return split(load(seed), START + timedelta(days=TRAINING_DAYS))
