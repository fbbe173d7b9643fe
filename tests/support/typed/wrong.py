"""What a type checker refuses: every line below the class (tests/schemas/test_expressions.py counts the errors)."""

from datetime import datetime

from samestream.schemas import Event, Field, event_time, field, key, when


class Order(Event, topic="o"):
    id: Field[str] = key()
    n: Field[int] = field()
    x: Field[float] = field()
    tags: Field[list[str]] = field()
    ok: Field[bool] = field()
    at: Field[datetime] = event_time()


# wrong:
Order.n.roundd()
Order.id > 5
Order.id * 2
Order.id + 1
Order.at + 1
Order.n.lower()
Order.id.year()
Order.n & Order.ok
when(Order.n).then(1)
when(Order.ok).then(1).otherwise("a")
Order.id.is_in(1)
Order.id.fill(0)
Order.n.get("a")
Order.tags.contains(5)
Order.at.cast(float)
Order.nn
Order.id.sqrt()
Order.n.clip("a")
Order.at > 5
Order.at - 5
Order.n.is_in("a")
Order.id.contains(3)
Order.n == Order.id
Order.count(over="1h", where=Order.n == "a")
Order.id.round()
Order.ok.at(0)
when(Order.ok).then(1).when(Order.id).then(2)
Order.id.mean(over="1h")
Order.n.concat("a")
Order.tags > Order.tags
~Order.id
Order.x.distinct(over="1h")
