"""Testing what you declare: events in, vectors, predictions and outcomes out, by the engine that runs in production.

::

    with AppTest(flights, day="2026-05-01") as app:
        app.send(Departure(flight_id="d1", carrier="UA", ..., dep_delay=20.0, at=app.at("10:00")))
        app.send(Boarding(flight_id="f1", carrier="UA", ..., at=app.at("10:30")))
        app.expect(LateArrival, "f1", carrier_delay=20.0)

No Kafka and no threads: everything happens in the calls, on a log in memory. Nothing but samestream needs to be installed.
"""

from samestream.testing.app_test import AppTest
from samestream.testing.found import Outcome, Rejected, Vector
from samestream.testing.given_model import Answer

__all__ = ["Answer", "AppTest", "Outcome", "Rejected", "Vector"]
