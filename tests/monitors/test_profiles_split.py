"""Profiles counted by two instances, each with a part of the partitions: the same windows, and the same verdict of drift."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import reduce

import harness
import pytest
from harness import PLAN, SHOP

from samestream.monitors.profile_writer import ProfileWriter
from samestream.monitors.windows import Limit, Measured
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.models.category_profile import Profile, merged
from samestream.streams.models.profile_topic import ProfileBook
from samestream.streams.transport import Outgoing

MODEL, MONITORS = PLAN.models["Buys"], list(SHOP.monitors.values())
HOUR_US = 3_600_000_000
EVENTS, CHANGED = 4000, 3200


def events() -> list[Outgoing]:
    """Views of some hours; in the last of them people look four times as long."""
    calm, changed = harness.shop_events(EVENTS), harness.shop_events(EVENTS, seconds_scale=4.0)
    return calm[:CHANGED] + changed[CHANGED:]


def counted(instances: int) -> tuple[ProfileBook, list[int]]:
    """What so many instances write together of the same log, and how many events each of them counted."""
    transport: MemoryTransport = harness.fresh()
    harness.send(transport, events())
    harness.work_off(transport, FeatureTask(PLAN))
    writers = [ProfileWriter(transport, PLAN, MONITORS, flush_s=0.05) for _ in range(instances)]
    wanted = sum(len(part) for topic in writers[0]._subjects for part in transport.read_all(topic))
    stop, failed = threading.Event(), []

    def run(writer: ProfileWriter) -> None:
        try:
            writer.run(stop)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(writer,), daemon=True) for writer in writers]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not failed and not _is_whole(transport, writers, wanted):
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert not failed
    return ProfileBook.read(transport.read_all(PLAN.profiles)), [writer.health.events for writer in writers]


def _is_whole(transport: MemoryTransport, writers: list[ProfileWriter], wanted: int) -> bool:
    """Whether everything is counted; what a partition that changed hands was counted for twice does not hide another."""
    if sum(writer.health.events for writer in writers) < wanted:
        return False
    book = ProfileBook.read(transport.read_all(PLAN.profiles))
    vectors = sum(len(part) for part in transport.read_all(MODEL.topics["features"]))
    found = book.over("Buys.seconds", "", MODEL.fingerprint)
    views = book.over("View.seconds")
    written = sum(len(part) for part in transport.read_all("shop.views"))
    return found is not None and views is not None and (found.n, views.n) == (vectors, written)


def verdicts(book: ProfileBook) -> Mapping[int, Measured]:
    """Each window of the feature against those of the first hours, by the rule of drift."""
    windows: dict[int, Profile] = {
        start_us: profile for (start_us, _), profile in book.windows("Buys.seconds", "", MODEL.fingerprint)
    }
    first = min(windows)
    before = [profile for start_us, profile in windows.items() if start_us < first + 5 * HOUR_US]
    limit = Limit.calibrated(reduce(merged, before), before)
    return {start_us: limit.measure(profile) for start_us, profile in windows.items()}


def test_two_instances_and_one_make_the_same_profiles_and_the_same_verdicts() -> None:
    one, _ = counted(1)
    two, shares = counted(2)
    assert min(shares) > 0, "both had partitions"
    assert set(one.subjects()) == set(two.subjects())
    for subject in one.subjects():
        mine, theirs = dict(one.windows(*subject)), dict(two.windows(*subject))
        assert set(mine) == set(theirs)
        for window, profile in mine.items():
            told, same = profile.to_json(), theirs[window].to_json()
            for name in ("sum", "sum_squares"):
                assert same.pop(name, 0) == pytest.approx(told.pop(name, 0), rel=1e-12)
            assert told == same
    found = verdicts(one)
    assert verdicts(two) == found
    moved = [start_us for start_us, measured in found.items() if measured.moved]
    assert moved, "the last hours moved"
    assert min(moved) >= harness.START_US + CHANGED * 7 * harness.SECOND_US - HOUR_US
