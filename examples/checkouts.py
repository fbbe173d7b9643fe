"""Will a customer send the order back? A port of the quickstart of Chronon, the feature platform that came from Airbnb.

Its training set is what a shop knows at each checkout: the customer's purchases and returns over 3, 14 and 30 days, the last
prices and refunds, and the account. Counted without blank lines, comments and docstrings, Chronon declares that in 132 lines:
purchases 43, returns 44, users 17, the joins 28. Counted alike, all of this file takes 47, and has the events' types, the label,
the trainer and the monitors besides.

Try it: ``samestream example checkouts``.
"""

from datetime import datetime
from decimal import Decimal

from samestream.monitors import Monitors, drift, parity, quality, silence
from samestream.schemas import Event, Features, Field, Model, Table, event_time, field, key, label
from samestream.trainers import gradient_boosting

WINDOWS = ("3d", "14d", "30d")


class Purchase(Event, topic="shop.purchases", lateness="1h"):
    """Somebody has paid for something."""

    user_id: Field[str] = key()
    price: Field[Decimal] = field(digits=10, scale=2, unit="USD", low=0)
    at: Field[datetime] = event_time()


class Return(Event, topic="shop.returns", lateness="1h"):
    """Something came back, and was refunded."""

    user_id: Field[str] = key()
    refund: Field[Decimal] = field(digits=10, scale=2, unit="USD", low=0)
    at: Field[datetime] = event_time()


class User(Table, topic="shop.users"):
    """An account, as it was last changed."""

    user_id: Field[str] = key()
    created: Field[datetime] = field()
    email_verified: Field[bool] = field()


class Checkout(Event, topic="shop.checkouts", lateness="10m"):
    """A basket is about to be paid for."""

    order_id: Field[int] = key()
    user_id: Field[str] = field()
    at: Field[datetime] = event_time()


class Purchases(Features, by=Purchase.user_id):
    """What a customer bought."""

    total = Purchase.price.sum(over=WINDOWS)
    number = Purchase.price.count(over=WINDOWS)
    average = Purchase.price.mean(over=WINDOWS)
    last_10 = Purchase.price.last_n(10, over="lifetime")


class Returns(Features, by=Return.user_id):
    """What a customer sent back."""

    total = Return.refund.sum(over=WINDOWS)
    number = Return.refund.count(over=WINDOWS)
    average = Return.refund.mean(over=WINDOWS)
    last_2 = Return.refund.last_n(2, over="lifetime")


class Closing(Event, topic="shop.closings", lateness="1d"):
    """An order is closed: it came back, or the 30 days in which it could have are over."""

    order_id: Field[int] = key()
    is_returned: Field[bool] = field()
    at: Field[datetime] = event_time()


class SentBack(Model, on=Checkout, trainer=gradient_boosting(every="1d", history="180d", max_iter=60)):
    """P(the order comes back within 30 days), at the checkout."""

    bought = Purchases
    returned = Returns
    account = User
    account_age = Checkout.at - User.created
    newest_price = Purchases.last_10.at(-1)
    newest_refund = Returns.last_2.at(-1)
    is_returned = label(Closing.is_returned, by=Closing.order_id, within="31d")


class SentBackHealth(Monitors, of=SentBack, alarms="1/week"):
    """Is the model healthy?"""

    features = parity(), drift(window="7d"), quality(), silence(longer_than="12h")
    scores = drift(window="7d")
