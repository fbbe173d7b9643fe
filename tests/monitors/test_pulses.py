"""A silence of everything is told while it lasts: pulses among what the monitor reads, on the log in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import harness
import pytest
from running import Running, until

from samestream.console.pulses import Pulses
from samestream.monitors.declared import Monitors, quality
from samestream.monitors.incidents import IncidentRecord
from samestream.monitors.task import MonitorTask, parse
from samestream.schemas import records
from samestream.schemas.app import load
from samestream.schemas.avro import Codec
from samestream.streams.deploy import provision
from samestream.streams.engine.processor import Processor
from samestream.streams.engine.pulse import PULSES
from samestream.streams.engine.snapshots import Snapshots
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import Outgoing

LONE = load(str(Path(harness.__file__).with_name("lone.py")))
PLAN = compile_app(LONE)
HEALTH = LONE.monitors["FailsHealth"]
MINUTE = 60_000_000
HOUR, DAY = 60 * MINUTE, 1440 * MINUTE
START = harness.START_US // DAY * DAY
STOPS = START + 23 * DAY + 9 * HOUR
"""After 23 days, of which 18 are needed; it is told about twelve minutes later."""


def readings(from_us: int, until_us: int) -> list[Outgoing]:
    """One every two minutes, known a second after it happened."""
    return [
        harness.encode(PLAN, "Reading", "s", at_us, sensor="s", level=1.0, at=at_us - 1_000_000)
        for at_us in range(from_us, until_us, 2 * MINUTE)
    ]


def pulses(from_us: int, until_us: int, every_us: int = MINUTE // 2) -> list[Outgoing]:
    value = Codec(records.PULSE).encode({"process": "host:1"})
    return [Outgoing(PLAN.pulse, None, value, at_us) for at_us in range(from_us, until_us, every_us)]


@cache
def history() -> list[Outgoing]:
    return readings(START, STOPS)


def watched(*steps: Sequence[Outgoing], folder: Path | None = None, **options: Any) -> list[IncidentRecord]:
    """What is told of each of these in turn; with each the monitor starts anew.

    folder : of its snapshots; it follows its journal, otherwise.
    """
    transport = harness.fresh(LONE, PLAN)
    for step in steps:
        harness.send(transport, step)
        snapshots = Snapshots(folder, "lone.monitor.Fails", 0.01, copied_bytes=10**9) if folder else None
        worker = harness.work_off(transport, MonitorTask(PLAN, HEALTH), PLAN, snapshots=snapshots, **options)
        assert worker.health.state == "stopped"
    return told(transport)


def told(transport: MemoryTransport) -> list[IncidentRecord]:
    found = [parse(value) for _, _, value, _ in harness.contents(transport, [PLAN.drift])[PLAN.drift]]
    return [one for one in found if one is not None]


def test_a_silence_of_everything_is_told_while_it_lasts() -> None:
    assert watched(history()) == []
    assert watched(history(), pulses(STOPS, STOPS + 10 * MINUTE)) == []
    (found,) = watched(history(), pulses(STOPS, STOPS + 17 * MINUTE))
    assert (found.event, found.verdict, found.cause) == ("open", "missing_source", "Reading")
    assert 10 * MINUTE < found.opened_at_us - STOPS < 15 * MINUTE


def test_it_is_the_incident_that_is_told_without_pulses_once_it_is_over() -> None:
    back = readings(STOPS + 3 * HOUR, STOPS + 30 * HOUR)
    without = watched(history(), back)
    assert [one.event for one in without] == ["open", "close"]
    live = pulses(STOPS - HOUR, STOPS + 30 * HOUR)
    assert watched(history(), live, back)[0] == without[0]
    assert watched([*history(), *back, *live]) == without


def test_neither_batches_nor_restarts_nor_snapshots_matter(tmp_path: Path) -> None:
    steps = (
        [*history(), *pulses(STOPS - HOUR, STOPS + 12 * MINUTE)],
        pulses(STOPS + 12 * MINUTE, STOPS + 30 * MINUTE),
        [*readings(STOPS + HOUR, STOPS + 9 * HOUR), *pulses(STOPS + 30 * MINUTE, STOPS + 20 * HOUR)],
    )
    expected = watched([one for step in steps for one in step])
    # the source stops again, which is told before all is over
    assert [one.event for one in expected] == ["open", "close", "open"]
    assert watched(*steps) == expected
    assert watched(*steps, batch_records=501) == expected
    assert watched(*steps, folder=tmp_path, batch_records=501) == expected
    assert list(tmp_path.rglob("*.npz"))


def test_pulses_of_today_mean_nothing_to_a_history_that_is_replayed_today() -> None:
    """Half of it is there when the monitor starts; the rest comes after pulses, with a gap of a week."""
    today_us = STOPS + 400 * DAY
    rest = [one._replace(known_us=one.known_us + 7 * DAY) for one in history()]
    without = watched(history(), rest)
    assert watched(
        history(), pulses(today_us, today_us + 2 * HOUR), rest, pulses(today_us + 2 * HOUR, today_us + DAY)
    ) == (without)


def test_yesterdays_backlog_is_no_silence_and_what_stops_after_it_is() -> None:
    """The source writes what it could not write since noon; the monitor runs meanwhile."""
    noon_us, now_us = STOPS, STOPS + 12 * HOUR
    begun = readings(noon_us, now_us - 5 * HOUR)
    rest = readings(now_us - 5 * HOUR, now_us)
    # nothing ran in between: the first pulses are those of now, while five hours are still to come
    steps = (history(), begun, pulses(now_us, now_us + HOUR, 10 * MINUTE), rest)
    assert watched(*steps) == []
    (found,) = watched(*steps, pulses(now_us + HOUR, now_us + 2 * HOUR))
    assert found.verdict == "missing_source"
    assert abs(found.opened_at_us - now_us) < 20 * MINUTE


def test_what_was_on_its_way_counts_though_the_clock_has_passed_it() -> None:
    """An application keeps what it cannot deliver for fifty minutes, and then delivers it as known when it was made."""
    kept = readings(STOPS, STOPS + 50 * MINUTE)
    steps = (history(), pulses(STOPS, STOPS + 50 * MINUTE), kept, readings(STOPS + 50 * MINUTE, STOPS + 9 * HOUR))
    records = watched(*steps)
    assert [(one.event, one.verdict) for one in records] == [
        ("open", "missing_source"),
        ("close", "missing_source"),
    ]
    transport = harness.fresh(LONE, PLAN)
    task = MonitorTask(PLAN, HEALTH)
    harness.send(transport, [*history(), *pulses(STOPS, STOPS + 50 * MINUTE)])
    running = Running(PLAN, transport, task, stands_by=False)
    until(lambda: len(told(transport)) == 1)
    harness.send(transport, [*kept, *readings(STOPS + 50 * MINUTE, STOPS + 60 * MINUTE)])
    events = len(history()) + 100 + len(kept) + 5
    until(lambda: running.health.events == events)
    running.end()
    assert running.failure is None
    source = task._watch._sources["Reading"]
    waiting = sum(len(chunk[0]) for chunk in source.rows._chunks)
    assert source.traffic._counted_today.sum() + waiting == 9 * 30 + len(kept) + 5


def test_a_journal_from_before_there_were_pulses_is_gone_on_with() -> None:
    transport, before = harness.fresh(LONE, PLAN), MonitorTask(PLAN, HEALTH)
    before.inputs = tuple(part for part in before.inputs if part.name != PULSES)
    harness.send(transport, history())
    harness.work_off(transport, before, PLAN)
    harness.send(transport, pulses(STOPS, STOPS + 17 * MINUTE))
    harness.work_off(transport, MonitorTask(PLAN, HEALTH), PLAN)
    assert [one.verdict for one in told(transport)] == ["missing_source"]


def test_what_is_no_pulse_in_their_topic_moves_nothing() -> None:
    garbage = Outgoing(PLAN.pulse, None, b"no pulse", STOPS + 17 * MINUTE)
    assert watched([garbage, *history()], [garbage, *pulses(STOPS, STOPS + MINUTE), garbage]) == []


def test_what_does_not_fall_silent_reads_no_pulses() -> None:
    class Health(Monitors, of=HEALTH.__monitors__.of):
        features = quality()

    assert PULSES not in [part.name for part in MonitorTask(PLAN, Health).inputs]
    assert PULSES in [part.name for part in MonitorTask(PLAN, HEALTH).inputs]


def test_they_are_written_while_a_monitor_runs_here_and_at_most_so_often() -> None:
    transport = harness.fresh(LONE, PLAN)
    worker = Processor(transport, PLAN.app, PLAN.journal, MonitorTask(PLAN, HEALTH), provision.store(transport, PLAN))
    writer = Pulses(transport, PLAN, [worker], every_s=3600.0)

    def count() -> int:
        return len(harness.contents(transport, [PLAN.pulse])[PLAN.pulse])

    for state, written in (("recovering", 0), ("standby", 0), ("running", 1), ("running", 1), ("stopped", 1)):
        worker.health.state = state  # type: ignore[assignment]
        writer.beat()
        assert count() == written, state


def test_a_thread_writes_them_until_it_is_closed_and_none_where_nobody_reads_them() -> None:
    transport = harness.fresh(LONE, PLAN)
    running = Running(PLAN, transport, MonitorTask(PLAN, HEALTH), stands_by=False)
    idle, writer = Pulses(transport, PLAN, []), Pulses(transport, PLAN, [running.processor], every_s=0.01)
    idle.start()
    writer.start()
    until(lambda: running.health.events >= 3)
    idle.close()
    writer.close()
    running.end()
    assert not writer._thread.is_alive()
    assert running.failure is None


def test_what_cannot_be_written_is_told_once_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    transport = harness.fresh(LONE, PLAN)
    running = Running(PLAN, transport, MonitorTask(PLAN, HEALTH), stands_by=False)
    until(lambda: running.health.state == "running")
    writer = Pulses(transport, PLAN, [running.processor], every_s=0.0)
    writer._topic = "nowhere"
    for _ in range(3):
        writer.beat()
    assert [one.getMessage().split(":")[0] for one in caplog.records if "pulse" in one.getMessage()] == ["no pulse"]
    running.end()
    assert running.failure is None
