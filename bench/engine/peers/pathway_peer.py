"""Pathway: a stateful reducer by account, which answers the events of a minibatch. At least once, without persistence."""

from __future__ import annotations

from typing import Any

import pathway as pw
from job import Codecs, Given, step

given = Given.parse()
codecs = Codecs(given.folder)


@pw.reducers.stateful_many
def answered(state: Any, rows: list[tuple[list[Any], int]]) -> Any:
    """The window (its first part) after some events, and the answers to them (the second)."""
    held = list(state[0]) if state is not None else None
    events = sorted((codecs.read(row[0]) for row, _ in rows), key=lambda event: event["at"])
    answers = []
    for event in events:
        held, answer = step(held, event["account"], event["at"], event["price"])
        answers.append(codecs.write(answer))
    return tuple(held or ()), tuple(answers)


settings = {
    "bootstrap.servers": given.bootstrap,
    "group.id": given.target,
    "auto.offset.reset": "earliest",
    "queued.min.messages": "200000",
    "fetch.wait.max.ms": "10",
}
events = pw.io.kafka.read(settings, given.source, format="raw", with_metadata=False, autocommit_duration_ms=50)
windows = events.groupby(events.key).reduce(events.key, both=answered(events.data))
answers = windows._remove_retractions().select(
    key=pw.this.key, answers=pw.apply_with_type(lambda both: both[1], tuple[bytes, ...], pw.this.both)
)
answers = answers.flatten(answers.answers)
pw.io.kafka.write(
    answers,
    {"bootstrap.servers": given.bootstrap, "linger.ms": "5"},
    given.target,
    format="raw",
    key=answers.key,
    value=answers.answers,
)
pw.run(monitoring_level=pw.MonitoringLevel.NONE)
