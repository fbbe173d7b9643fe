"""Sends rejected events to their topic again: as they were, with fields replaced, or as a person edited them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from samestream.console.reading import Translator, every
from samestream.console.redrive import Known
from samestream.console.rejected import Rejected, find, parse
from samestream.console.repair import Form
from samestream.schemas.errors import SchemaError, SettingsError
from samestream.streams import provision
from samestream.streams.plan import Input, Plan
from samestream.streams.transport import NOW, Outgoing, Transport

_EPOCH, _US = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
HEADER = "samestream.redrive-of"
"""The Kafka header of an event that was sent again: topic/partition/offset of the rejected one."""


@dataclass(frozen=True)
class Selection:
    """Which rejected events are meant: those of a topic, of a reason if one is named, from these places if there are any."""

    topic: str
    reason: str = ""
    places: frozenset[tuple[int, int]] = frozenset()

    def read(self, transport: Transport) -> Iterator[Rejected]:
        """They themselves. Raises SettingsError where the topic does not exist."""
        find(transport, self.topic)
        for seen in every(transport, self.topic):
            one = parse(seen)
            if one is None or self.reason not in ("", one.reason):
                continue
            if not self.places or (one.origin.partition, one.offset) in self.places:
                yield one


def export(transport: Transport, plan: Plan, selection: Selection, path: Path) -> str:
    """Write the selected events to a file, one JSON object a line; returns what to tell."""
    translator = Translator(provision.store(transport, plan))
    documents = [one.document(translator.record(one.value)) for one in selection.read(transport)]
    path.write_text("".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents), "utf-8")
    return f"wrote {len(documents)} events to {path}; edit their `event`, then send them with --from {path}"


def again(
    transport: Transport,
    plan: Plan,
    input: Input,
    selection: Selection,
    repairs: list[str],
    known: Known,
    dry_run: bool,
) -> None:
    """Send the selected events as they were, or with fields replaced where they decode."""
    form = Form(input, provision.store(transport, plan))
    left_out: list[str] = []
    outgoing = list(_again(selection.read(transport), input.topic, form, form.from_text(repairs), known, left_out))
    _send(transport, input.topic, outgoing, left_out, dry_run)


def from_file(transport: Transport, plan: Plan, input: Input, path: Path, known: Known, dry_run: bool) -> None:
    """Send the edited events of a file, all of them or none. Raises SchemaError naming the first line that does not fit."""
    form = Form(input, provision.store(transport, plan))
    left_out: list[str] = []
    outgoing = list(_edited(path, input.topic, form, known, left_out))
    _send(transport, input.topic, outgoing, left_out, dry_run)


def _send(transport: Transport, topic: str, outgoing: list[Outgoing], left_out: list[str], dry_run: bool) -> None:
    for why in left_out:
        print(f"left out: {why}")
    if dry_run:
        for record in outgoing:
            print(f"would send {(record.headers[0][1] or b'').decode()}")
    elif outgoing:
        writer = transport.writer()
        try:
            writer.send(outgoing)
            writer.flush()
        finally:
            writer.close()
    print(f"{'would send' if dry_run else 'sent'} {len(outgoing)} events to {topic}")


def origin(plan: Plan, topic: str) -> Input:
    """How the events of the topic before the suffix are read."""
    base, _, suffix = topic.rpartition(".")
    for input in plan.events.values():
        if input.topic == base and suffix in ("dead", "late"):
            return input
    raise SettingsError(
        "no topic of rejected events",
        where=topic,
        expected=", ".join(f"{input.topic}.dead" for input in plan.events.values()) + ", or .late of these",
        hint="see where there are any: samestream topics MODULE.",
    )


def places(given: list[str]) -> frozenset[tuple[int, int]]:
    """``PARTITION:OFFSET`` texts as pairs. Raises SettingsError for another text."""
    found = set()
    for text in given:
        partition, _, offset = text.partition(":")
        if not (partition.isdecimal() and offset.isdecimal()):
            raise SettingsError(
                "not a place", where="--offset", found=text, expected="PARTITION:OFFSET", hint="for example 0:1234."
            )
        found.add((int(partition), int(offset)))
    return frozenset(found)


def _stamp(known: Known, original_us: int) -> tuple[int, int]:
    """The `known_us` to send, and the instant it will mean."""
    if known is Known.NOW:
        return NOW, time.time_ns() // 1000
    return max(original_us, 1000), max(original_us, 1000)


def _again(
    chosen: Iterable[Rejected],
    topic: str,
    form: Form,
    replaced: Mapping[str, Any],
    known: Known,
    left_out: list[str],
) -> Iterator[Outgoing]:
    for one in chosen:
        stamp_us, known_us = _stamp(known, one.known_us)
        key, value, partition = one.key, one.value, one.origin.partition
        if replaced:
            values = form.decode(one.value)
            if values is None:
                left_out.append(f"{one.place} cannot be decoded, so no field can be set ({one.reason})")
                continue
            key, value = form.encode({**values, **replaced}, known_us, one.place)
        headers = ((HEADER, one.place.encode()),)
        # A new key belongs where the partitioner puts it; an old one stays with its like.
        yield Outgoing(topic, key, value, stamp_us, partition if key == one.key else None, headers)


def _edited(path: Path, topic: str, form: Form, known: Known, left_out: list[str]) -> Iterator[Outgoing]:
    for number, line in enumerate(_lines(path), 1):
        where = f"{path} line {number}"
        if not line.strip():
            continue
        place, original_us, key_before, event = _parsed(line, topic, where)
        if event is None:
            left_out.append(f"{where}: {place} has no `event`")
            continue
        if known is Known.ORIGINAL and original_us < 0:
            raise SchemaError("no known_time to keep", where=where, hint="send it with --known now.")
        stamp_us, known_us = _stamp(known, original_us)
        key, value = form.encode(form.from_json(event, where), known_us, where)
        partition = int(place.split("/")[1]) if key_before is not None and key == key_before.encode() else None
        yield Outgoing(topic, key, value, stamp_us, partition, ((HEADER, place.encode()),))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            "the file cannot be read", where=str(path), found=str(error), hint="write one with --export FILE."
        ) from error


def _parsed(line: str, topic: str, where: str) -> tuple[str, int, str | None, Any]:
    """Origin as topic/partition/offset, original known time, key before, and the event, of one line."""
    try:
        document = json.loads(line)
        origin, event, key = document["origin"], document["event"], document.get("key")
        place = f"{origin['topic']}/{int(origin['partition'])}/{int(origin['offset'])}"
        said = document.get("known_time")
        known_us = -1
        if said is not None:
            known_us = (datetime.fromisoformat(said) - _EPOCH) // _US
    except (ValueError, KeyError, TypeError) as error:
        raise SchemaError(
            "not a line that --export writes",
            where=where,
            found=f"{type(error).__name__}: {error}",
            expected="a JSON object with origin and event",
            hint="edit only what is in `event`.",
        ) from error
    if origin["topic"] != topic:
        raise SchemaError(
            "an event of another topic", where=f"{where}, field origin", found=origin["topic"], expected=topic,
            hint="redrive each topic's events on their own.",
        )  # fmt: skip
    return place, known_us, key if isinstance(key, str) else None, event
