"""Synthetic customers of a shop: what they buy, what they send back, and how each order ends.

Thirty weeks, 120 customers, about 12,600 events, all drawn from one seed. What there is to find:

- A customer has a *restlessness*, which moves slowly: the share of orders that come back. Past returns tell it.
- Dear orders come back more often than cheap ones; a customer keeps to a price range, so past prices tell it in part.
- Accounts younger than two months, and those without a verified address, send back more.
- An order that stays is closed after 30 days, one that comes back at once. One in twenty is never closed.
"""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from samestream.examples.checkouts import Checkout, Closing, Purchase, Return, User
from samestream.examples.event_batch import EventBatch, in_batches, split
from samestream.schemas import Event

START = datetime(2024, 9, 2, tzinfo=UTC)
DAYS = 210
TRAINING_DAYS = 182
CUSTOMERS = 120
TRIAL = timedelta(days=30)
RELEASED = ("the first twenty-six weeks", "four weeks more")

Happened = list[tuple[Event, datetime]]


def load(seed: int = 7) -> dict[str, EventBatch]:
    """Users, checkouts, purchases, returns and closings, each ordered by known time; the same for the same seed."""
    draw = random.Random(seed)
    happened: Happened = []
    order = 0
    for customer in range(CUSTOMERS):
        user, created = f"u{customer:03}", START - timedelta(days=draw.choice([3, 20, 45, 200, 400, 900]))
        verified = draw.random() < 0.7
        happened.append((User(user_id=user, created=created, email_verified=verified), START))
        range_usd, restless = draw.choice([15.0, 40.0, 120.0]), draw.gauss(0.0, 1.4)
        at = START
        while (at := at + timedelta(days=draw.expovariate(1 / 7))) < START + timedelta(days=DAYS):
            order += 1
            restless += draw.gauss(0.0, 0.15)
            if not verified and draw.random() < 0.05:
                verified = True
                happened.append((User(user_id=user, created=created, email_verified=True), at))
            price = range_usd * draw.lognormvariate(0, 0.5)
            leaning = -0.7 + restless + 0.5 * math.log(price / 40.0) + 0.4 * (not verified)
            leaning += 0.6 * (at - created < timedelta(days=60))
            returned = draw.random() < 1.0 / (1.0 + math.exp(-leaning))
            happened += _order(draw, order, user, at, price, returned)
    return in_batches(happened)


def _order(draw: random.Random, order: int, user: str, at: datetime, price: float, returned: bool) -> Happened:
    """A checkout, the purchase two minutes later, and what becomes of it."""
    paid, cents = at + timedelta(minutes=draw.uniform(1, 3)), Decimal(round(price * 100)).scaleb(-2)
    found: Happened = [
        (Checkout(order_id=order, user_id=user, at=at), at + timedelta(seconds=draw.uniform(0, 2))),
        (Purchase(user_id=user, price=cents, at=paid), paid + timedelta(minutes=draw.choice([0, 0, 0, 20]))),
    ]
    ended = paid + (timedelta(days=draw.uniform(2, 20)) if returned else TRIAL)
    if returned:
        found.append((Return(user_id=user, refund=cents, at=ended), ended + timedelta(seconds=5)))
    if draw.random() < 0.95:
        found.append((Closing(order_id=order, is_returned=returned, at=ended), ended + timedelta(seconds=10)))
    return found


def releases(seed: int = 7) -> tuple[dict[str, EventBatch], dict[str, EventBatch]]:
    """What is known in the weeks that train, and what comes after."""
    return split(load(seed), START + timedelta(days=TRAINING_DAYS))
