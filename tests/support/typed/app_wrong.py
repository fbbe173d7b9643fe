"""What a type checker refuses of an app: every line marked `# wrong`."""

from datetime import datetime

from samestream.monitors import drift, silence
from samestream.schemas import Event, Features, Field, event_time, field, key, label
from samestream.trainers import gradient_boosting


class Departure(Event, topic="departures"):
    carrier: Field[str] = key()
    delay: Field[float | None] = field()
    ok: Field[bool] = field()
    at: Field[datetime] = event_time()


class CarrierNow(Features, by=Departure.carrier):
    mean_delay_3h = Departure.delay.mean(over="3h")
    misspelt = Departure.delya.mean(over="3h")  # wrong
    text = Departure.carrier.mean(over="3h")  # wrong
    keyword = Departure.delay.mean(ovr="3h")  # wrong
    length = Departure.delay.mean(over=3.5)  # wrong
    condition = Departure.delay.mean(over="3h", where=Departure.delay)  # wrong
    compared = Departure.count(over="1h", where=Departure.carrier > 3)  # wrong
    share = Departure.delay.share(over="1h")  # wrong
    frequent = Departure.delay.most_frequent(over="1h")  # wrong
    different = Departure.delay.distinct(over="1h")  # wrong
    how_many = Departure.carrier.last_n("3", over="1h")  # wrong
    rank = Departure.delay.quantile(over="1h")  # wrong
    sum_of_times = Departure.at.sum(over="1h")  # wrong: pyright only
    zone = Departure.count(every="1d", zone=5)  # wrong
    rows = Departure.mean(over="1h")  # wrong


CarrierNow.mean_dely_3h  # wrong
CarrierNow.mean_delay_3h.lower()  # wrong
CarrierNow.mean_delay_3h > "a"  # wrong
label(Departure.delay > 15, by=Departure.carrier, whitin="1d")  # wrong
label(Departure.delay > 15, by=Departure.carrier, within=2.5)  # wrong
gradient_boosting(evry="1d", history="30d")  # wrong
drift(windw="1h")  # wrong
silence(longer_than=None)  # wrong
Departure(carrier="a", delay=1.0, ok=True)  # wrong
Departure(carrier="a", dely=1.0, ok=True, at=datetime.now())  # wrong
