"""Is a card payment the owner's? Reference tables and what hangs on them, sessions, sketches, keys of two fields, classes.

Try it: ``samestream example cards``.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from samestream.monitors import Monitors, drift, parity, quality, silence
from samestream.schemas import Event, Features, Field, Model, Table, event_time, field, key, label
from samestream.trainers import gradient_boosting


class Channel(StrEnum):
    """How the card was read."""

    CHIP = "chip"
    CONTACTLESS = "contactless"
    ONLINE = "online"


class Verdict(StrEnum):
    """Who paid, as an investigation found."""

    OWNER = "owner"
    COPY = "copy"
    THIEF = "thief"


class Merchant(Table, topic="cards.merchants", partitions=2):
    """Who is paid; a merchant may change its trade."""

    merchant_id: Field[int] = key()
    category: Field[str] = field()
    country: Field[str] = field()


class Payment(Event, topic="cards.payments", lateness="10m", partitions=3, owner="cards"):
    """A card pays, which is also the request: is it the owner?"""

    payment_id: Field[int] = key()
    card_id: Field[str] = field(pii=True)
    merchant_id: Field[int] = field()
    amount: Field[Decimal] = field(digits=12, scale=2, unit="EUR", low=0)
    channel: Field[Channel] = field()
    at: Field[datetime] = event_time()


class Ruling(Event, topic="cards.rulings", lateness="1d", partitions=3):
    """What became of a payment, hours to days later."""

    payment_id: Field[int] = key()
    verdict: Field[Verdict] = field()
    at: Field[datetime] = event_time()


class CardNow(Features, by=Payment.card_id, tags="velocity"):
    """How a card is used."""

    spent = Payment.amount.sum(over=("1h", "24h"))
    payments = Payment.count(over=("10m", "24h"))
    merchants_24h = Payment.merchant_id.distinct(over="24h")
    mean_amount_30d = Payment.amount.mean(over="30d").described(unit="EUR", low=0)
    home_country = Merchant.of(Payment.merchant_id).country.most_frequent(over="30d")
    idle = Payment.time_since_last(over="30d").described(unit="s")


class Spree(Features, by=Payment.card_id):
    """The payments of a card that follow one another within a quarter of an hour."""

    payments = Payment.count(session="15m")
    greatest = Payment.amount.max(session="15m")


class CardAtMerchant(Features, by=(Payment.card_id, Payment.merchant_id)):
    """Whether a card is known to a merchant."""

    visits = Payment.count(over="30d")


class CategoryNow(Features, by=Merchant.of(Payment.merchant_id).category):
    """What is usual in a trade, by what each merchant's trade was when it was paid."""

    median_amount_7d = Payment.amount.median(over="7d")
    online_share_7d = (Payment.channel == Channel.ONLINE).share(over="7d")


class WhoPays(Model, on=Payment, trainer=gradient_boosting(every="1d", history="30d", max_iter=40), owner="risk"):
    """The owner, a copy of the card, or a thief."""

    card = CardNow
    spree = Spree
    visits = CardAtMerchant.visits
    to_usual = Payment.amount / CardNow.mean_amount_30d
    to_category = Payment.amount / CategoryNow.median_amount_7d
    category_online = CategoryNow.online_share_7d
    channel = Payment.channel
    category = Merchant.category
    is_abroad = Merchant.country != CardNow.home_country
    verdict = label(Ruling.verdict, by=Ruling.payment_id, within="4d")


class WhoPaysHealth(Monitors, of=WhoPays, alarms="1/week"):
    """Is the model healthy?"""

    features = parity(), drift(window="1d"), quality(), silence(longer_than="6h")
    scores = drift(window="1d")
