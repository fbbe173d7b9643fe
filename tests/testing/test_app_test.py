"""`samestream.testing` itself: it is the production engine, its time is what it says, and its failures explain."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import harness
import pytest

from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.schemas.errors import ExpectationError, SamestreamError, SettingsError
from samestream.streams.clients.subscription import Position
from samestream.streams.engine.feature_task import FeatureTask
from samestream.testing import AppTest
from samestream.trainers import gradient_boosting

VIEW, PRICE, ORDER = (harness.SHOP.events[name] for name in ("View", "Price", "Order"))
BUYS = harness.SHOP.models["Buys"]


@pytest.fixture
def app() -> AppTest:
    return AppTest(harness.SHOP, day="2026-05-01")


def view(app: AppTest, user: str, clock: str, seconds: float | None = 10.0, product: str = "p") -> object:
    return VIEW(user=user, product=product, seconds=seconds, at=app.at(clock))


def test_it_gives_what_the_production_engine_gives() -> None:
    """The same records, through the processor of the other tests in one go, give the same vectors."""
    sent = harness.shop_events(300)
    transport = harness.fresh()
    harness.send(transport, sent)
    harness.work_off(transport, FeatureTask(harness.PLAN))
    app = AppTest(harness.SHOP)
    kinds = {kind.topic: kind for kind in (VIEW, PRICE, ORDER)}
    known = app.at("00:00")
    for number, record in enumerate(sent):
        known = datetime.fromtimestamp(record.known_us / 1e6, UTC)
        app.send_bytes(kinds[record.topic], record.key or b"", record.value, known=known)
        if number % 50 == 0:
            app.vectors(BUYS)  # in between, which recovers from the journal each time
    app.vectors(BUYS)
    topics = harness.output_topics()
    assert harness.contents(app._transport, topics) == harness.contents(transport, topics)


def test_events_become_known_in_the_order_they_are_sent_unless_said_otherwise(app: AppTest) -> None:
    app.send(view(app, "u", "10:00"), view(app, "u", "09:59:30"), view(app, "u", "10:00"))
    app.send(view(app, "u", "10:01"), known=app.at("10:02"))
    knowns = [one.known for one in app._sent]
    noon = app.at("10:00")
    tick = timedelta(milliseconds=1)
    assert knowns == [noon, noon + tick, noon + 2 * tick, app.at("10:02")]
    with pytest.raises(SettingsError, match="the log does not learn backwards") as refused:
        app.send(view(app, "u", "10:01"), known=app.at("10:01"))
    assert (refused.value.found, refused.value.expected) == ("known 10:01:00", "10:02:00 or later, as the event before")


def test_a_failure_names_what_became_of_every_event(app: AppTest) -> None:
    app.send(
        view(app, "u", "08:59", 90.0),
        view(app, "u", "09:00", 10.0),
        view(app, "other", "09:30", 70.0),
        view(app, "u", "10:00", 20.0),
        view(app, "u", "10:00", 30.0),
    )
    app.send(view(app, "u", "10:02", 5.0))
    app.send(view(app, "u", "09:59", 40.0), known=app.at("10:03"))
    with pytest.raises(ExpectationError) as failed:
        app.expect(BUYS, "u", seconds=99.0, views=0)
    assert str(failed.value) == (
        "Buys 'u' at 10:02:00: the vector is not as expected\n"
        "Found: seconds=25.0, views=2\n"
        "Expected: seconds=99.0, views=0\n"
        "seconds = UserNow.mean_seconds_1h\n"
        "  UserNow.mean_seconds_1h = View.seconds.mean(over='1h')\n"
        "  View.seconds.mean(over='1h'): Views of user='u' from 09:02:00 to before 10:02:00\n"
        "    08:59:00 u seconds=90.0: before the window\n"
        "    09:00:00 u seconds=10.0: before the window\n"
        "    10:00:00 u seconds=20.0: in the window\n"
        "    10:00:00 u seconds=30.0: in the window\n"
        "    10:02:00 u seconds=5.0: at the instant or after it, so outside\n"
        "    09:59:00 u seconds=40.0: not applied: late\n"
        "views = UserNow.views_10m\n"
        "  UserNow.views_10m = View.count(over='10m')\n"
        "  View.count(over='10m'): Views of user='u' from 09:52:00 to before 10:02:00\n"
        "    08:59:00 u: before the window\n"
        "    09:00:00 u: before the window\n"
        "    10:00:00 u: in the window\n"
        "    10:00:00 u: in the window\n"
        "    10:02:00 u: at the instant or after it, so outside\n"
        "    09:59:00 u: not applied: late\n"
        "Hint: the lines above say what became of every event that might count."
    )
    assert isinstance(failed.value, AssertionError)
    assert "p was sent" not in app.explain(BUYS, "u", "spread")
    assert "no Price of product='p' was sent" in app.explain(BUYS, "u", "cents")


class Request(Event, topic="made.requests"):
    name: Field[str] = key()
    origin: Field[str] = field()
    dest: Field[str] = field()
    at: Field[datetime] = event_time()


class Ride(Event, topic="made.rides", lateness="1d"):
    name: Field[str] = key()
    origin: Field[str] = field()
    dest: Field[str] = field()
    kind: Field[str] = field()
    minutes: Field[float] = field()
    at: Field[datetime] = event_time()


class Route(Features, by=(Ride.origin, Ride.dest)):
    rides = Ride.count(session="30m")
    long = Ride.minutes.max(over="lifetime", where=Ride.minutes > 2)
    today = Ride.minutes.mean(every="1d", zone="Asia/Tokyo")


class KindOfRide(Model, on=Request, trainer=gradient_boosting(every="1d", history="30d")):
    rides = Route.rides * 2
    long = Route.long
    today = Route.today
    kind = label(Ride.kind, by=Ride.name, within="1d")


def test_every_kind_of_window_is_explained_and_agrees_with_the_engine() -> None:
    with AppTest([KindOfRide], day="2026-05-01", zone="Asia/Tokyo") as app:
        for name, minutes, at in (
            ("a", 9.0, app.at("23:00", day=0)),
            ("b", 3.0, app.at("09:10")),
            ("c", 1.0, app.at("09:41")),
            ("d", 5.0, app.at("10:00")),
        ):
            app.send(Ride(name=name, origin="HND", dest="KIX", kind="bus", minutes=minutes, at=at))
        app.give_model(KindOfRide, {"bus": 0.7, "car": 0.3})
        app.send(Request(name="r", origin="HND", dest="KIX", at=app.at("10:20")))
        app.expect(KindOfRide, "r", rides=4, long=9.0, today=3.0)
        assert app.explain(KindOfRide, "r", "rides") == (
            "4\n"
            "rides = (Route.rides * 2)\n"
            "  Route.rides = Ride.count(session='30m')\n"
            "  Ride.count(session='30m'): Rides of origin='HND', dest='KIX' from 09:41:00 to before 10:20:00\n"
            "    2026-04-30 23:00:00 a: before the window\n"
            "    09:10:00 b: before the window\n"
            "    09:41:00 c: in the window\n"
            "    10:00:00 d: in the window"
        )
        long, today = app.explain(KindOfRide, "r", "long"), app.explain(KindOfRide, "r", "today")
        assert "Rides of origin='HND', dest='KIX' to before 10:20:00" in long
        assert "2026-04-30 23:00:00 a minutes=9.0: in the window" in long
        assert "09:41:00 c minutes=1.0: in the window, but not (Ride.minutes > 2)" in long
        assert "from 00:00:00 to before" in today
        assert "2026-04-30 23:00:00 a minutes=9.0: before the window" in today

        said = app.prediction(KindOfRide, "r")
        assert (said.value, said.score, said.probabilities) == ("bus", 0.7, {"bus": 0.7, "car": 0.3})
        app.send(Ride(name="r", origin="HND", dest="KIX", kind="car", minutes=1.0, at=app.at("12:00")))
        outcome = app.outcome(KindOfRide, "r")
        assert (outcome.label, outcome.value, outcome.state) == ("car", "bus", "labelled")
        with pytest.raises(SettingsError, match="KindOfRide predicts classes"):
            app.give_model(KindOfRide, 0.5)


def test_what_was_known_only_later_is_told(app: AppTest) -> None:
    app.send(PRICE(product="p", cents=100, at=app.at("09:00")))
    app.send(view(app, "u", "10:00"))
    app.send(PRICE(product="p", cents=900, at=app.at("09:59")), known=app.at("10:00:30"))
    app.expect(BUYS, "u", cents=100, spread=0)
    assert "09:59:00 p cents=900: known only at 10:00:30, after the trigger" in app.explain(BUYS, "u", "cents")


def test_floats_are_compared_to_nine_digits_and_nothing_else_is(app: AppTest) -> None:
    app.send(view(app, "u", "09:59", 0.1), view(app, "u", "09:59:01", 0.2), view(app, "u", "10:00"))
    app.expect(BUYS, "u", seconds=0.15, views=2)
    for wrong in ({"seconds": 0.150001}, {"seconds": None}, {"views": 3}, {"views": True}, {"cents": 0}):
        with pytest.raises(ExpectationError):
            app.expect(BUYS, "u", **wrong)


def test_late_and_dead_events_are_told_with_their_reasons(app: AppTest) -> None:
    app.send(PRICE(product="p", cents=1, at=app.at("10:00")))
    app.send(straggler := PRICE(product="p", cents=2, at=app.at("09:50")), known=app.at("10:01"))
    app.send(tomorrow := PRICE(product="p", cents=3, at=app.at("10:00", day=2)), known=app.at("10:02"))
    app.send_bytes(PRICE, b"p", b"not an event")
    (late,), dead = app.late(PRICE), app.dead(PRICE)
    assert (late.event, late.key, late.reason, late.position) == (straggler, "p", "late", Position("shop.prices", 0, 1))
    assert [(one.event, one.reason) for one in dead] == [(tomorrow, "ahead_of_record"), (None, "undecodable")]
    assert app.late(ORDER) == app.dead(ORDER) == []


def test_late_labels_are_told_though_no_feature_reads_them(app: AppTest) -> None:
    app.send(ORDER(user="u", amount=1.0, at=app.at("10:00")))
    app.send(ORDER(user="u", amount=2.0, at=app.at("09:00")), known=app.at("10:01"))
    assert [one.reason for one in app.late(ORDER)] == ["late"]


def test_a_vector_that_is_missing_is_explained(app: AppTest) -> None:
    app.send(view(app, "a", "10:00"))
    with pytest.raises(ExpectationError) as nobody:
        app.vector(BUYS, "u")
    assert str(nobody.value) == (
        "Buys: there is no vector for 'u'\n"
        "Found: vectors for 'a'\n"
        "Expected: a View with user='u'\n"
        "Hint: a vector is made for each trigger that is applied."
    )
    app.send(view(app, "u", "10:00", product="q"), known=app.at("08:00", day=2))
    app.send(*(view(app, f"v{n}", "10:00") for n in range(9)), known=app.at("09:00", day=2))
    app.send(view(app, "w", "10:00"), known=app.at("10:00", day=2))
    app.send(view(app, "late", "09:00"), known=app.at("10:00", day=2))
    with pytest.raises(ExpectationError, match="its View was not applied: late, older than the clocks allow"):
        app.vector(BUYS, "late")


def test_a_model_scores_what_becomes_known_after_it_was_given(app: AppTest) -> None:
    app.send(view(app, "a", "10:00"))
    with pytest.raises(ExpectationError, match="there is no prediction for 'a'"):
        app.prediction(BUYS, "a")
    app.give_model(BUYS, 0.25)
    app.send(view(app, "b", "10:01"))
    app.give_model(BUYS, lambda vector: vector["views"] / 10)
    app.send(view(app, "b", "10:02"))
    assert [(one.entity, one.score, one.version) for one in app.predictions(BUYS)] == [
        ("b", 0.25, "given-1"),
        ("b", 0.1, "given-2"),
    ]
    with pytest.raises(ExpectationError) as waiting:
        app.outcome(BUYS, "b")
    assert waiting.value.expected == "a Order with Order.user == 'b', within 30m"
    app.send(ORDER(user="b", amount=0.0, at=app.at("10:20")))
    app.send(ORDER(user="b", amount=5.0, at=app.at("10:21")))
    assert [(one.state, one.label) for one in app.outcomes(BUYS)] == [
        ("labelled", 0.0),
        ("labelled", 0.0),
        ("correction", 1.0),
        ("correction", 1.0),
    ]


def test_wrong_questions_are_answered_with_names(app: AppTest) -> None:
    app.send(view(app, "u", "10:00"))
    with pytest.raises(SettingsError, match="did you mean `seconds`") as unknown:
        app.expect(BUYS, "u", second=1)
    assert unknown.value.expected == "views, seconds, cents, spread"
    with pytest.raises(SettingsError, match="this is no time of day"):
        app.at("25:00")
    with pytest.raises(SettingsError, match="this is no day"):
        AppTest(harness.SHOP, day="tomorrow")
    with pytest.raises(SettingsError, match="a given model answers something else"):
        app.give_model(BUYS, {"yes": 1.0})
    other = AppTest([BUYS], name="shop")  # the classes alone will do, too
    assert set(other.app.events) == {"View", "Price", "Order"}
    from samestream.examples.flights import Boarding, LateArrival

    for ask in (lambda: app.late(Boarding), lambda: app.vectors(LateArrival)):
        with pytest.raises(SamestreamError, match="of this app"):
            ask()


def test_what_is_no_day_or_has_no_zone_is_told(app: AppTest) -> None:
    with pytest.raises(SettingsError, match="an instant needs a time zone"):
        app.send_bytes(next(iter(app.app.events.values())), b"k", b"", datetime(2026, 5, 1))
    with pytest.raises(SettingsError, match="this is no time of day"):
        app.at(10)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="this is no day"):
        AppTest(harness.SHOP, day=datetime(2026, 5, 1))  # type: ignore[arg-type]


def test_days_follow_the_clocks_of_their_zone() -> None:
    app = AppTest(harness.SHOP, day="2026-03-28", zone="Europe/Berlin")
    assert app.at("12:00", day=2) - app.at("12:00") == timedelta(days=1)
    assert app.at("12:00", day=2).astimezone(UTC).hour == 10
    assert app.at("12:00").astimezone(UTC).hour == 11
    assert app.at.shown(app.at("09:30", day=2)) == "2026-03-29 09:30:00"


def test_it_leaves_no_thread_and_needs_no_pytest(tmp_path: Path) -> None:
    program = (
        "import sys, threading\n"
        "from datetime import UTC, datetime\n"
        "from samestream.examples import rides\n"
        "from samestream.testing import AppTest\n"
        "with AppTest(rides) as app:\n"
        "    app.send(rides.RideRequest(request_id=1, zone_id=2, passengers=3, member=True, requested_at=app.at('10:00')))\n"
        "    assert app.vector(rides.GenerousTip, 1)['is_group'] is True\n"
        "missing = [name for name in ('pytest', 'hypothesis', 'confluent_kafka') if name in sys.modules]\n"
        "print(threading.active_count(), missing)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "1 []"
