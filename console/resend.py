"""Sends rejected events to their topic again: as they were, with fields replaced, or as a person edited them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from samestream.console.reading import Translator, every, exact, readable
from samestream.console.redrive import Known
from samestream.console.rejected import Rejected, find, parse
from samestream.console.repair import Form
from samestream.schemas.errors import SamestreamError, SchemaError, SettingsError
from samestream.streams.deploy import provision
from samestream.streams.plan import Input, Plan
from samestream.streams.transport import NOW, Fetched, Outgoing, Partition, Transport, send_all
from samestream.streams.wire.decode import UNKNOWN_KNOWN_US, Decoder
from samestream.streams.wire.schema_store import SchemaStore

_NAMED = 20  # places in a message
_EPOCH, _US = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
HEADER = "samestream.redrive-of"
"""The Kafka header of an event that was sent again: topic/partition/offset of the rejected one."""


@dataclass(frozen=True)
class Selection:
    """Which rejected events are meant: those of a topic, of a reason if one is named, from these places if there are any."""

    topic: str
    reason: str = ""
    places: frozenset[tuple[int, int]] = frozenset()

    def read(self, transport: Transport) -> list[Rejected]:
        """They themselves.

        Raises SettingsError where the topic does not exist, and SamestreamError where a reason or a place matches none,
        naming those there are.
        """
        find(transport, self.topic)
        reasons: Counter[str] = Counter()
        there: dict[tuple[int, int], None] = {}
        chosen = []
        for one in filter(None, map(parse, every(transport, self.topic))):
            reasons[one.reason] += 1
            if self.reason not in ("", one.reason):
                continue
            place = (one.origin.partition, one.offset)
            there[place] = None
            if not self.places or place in self.places:
                chosen.append(one)
        if self.reason and not there:
            raise SamestreamError(
                "no event was rejected for this reason",
                where=f"{self.topic}, --reason {self.reason}",
                found=", ".join(f"{reason} ({count})" for reason, count in reasons.most_common()) or "no events at all",
                hint="name one of these, or leave --reason out.",
            )
        if absent := self.places - there.keys():
            near = [f"{partition}:{offset}" for partition, offset in sorted(there)]
            raise SamestreamError(
                "no rejected event is from there",
                where=f"{self.topic}, --offset {', '.join(f'{part}:{offset}' for part, offset in sorted(absent))}",
                found=", ".join(near[:_NAMED]) + (f" and {len(near) - _NAMED} more" if len(near) > _NAMED else "")
                or "no events at all",
                hint="name partition:offset as `samestream topics MODULE TOPIC` tells them; nothing was sent.",
            )
        return chosen


def export(
    transport: Transport, plan: Plan, input: Input, selection: Selection, path: Path, overwrite: bool = False
) -> str:
    """Write the selected events to a file, one JSON object a line; returns what to tell.

    Raises SettingsError where the file is there already, unless it may be overwritten, or cannot be written.
    """
    if path.exists() and not overwrite:
        raise SettingsError(
            "this file is there already, perhaps with edits",
            where=f"--export {path}",
            hint="choose another name, or say --overwrite.",
        )
    store = provision.store(transport, plan)
    form, translator = Form(input, store), Translator(store, exact)

    def event(value: bytes | None) -> dict[str, Any] | None:
        values = form.decode(value)  # as declared, so that --from takes it; else whatever is known of it
        return translator.record(value) if values is None else readable(values, input.schema, exact)

    documents = [one.document(event(one.value)) for one in selection.read(transport)]
    text = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise SettingsError(
            "the file cannot be written", where=f"--export {path}", found=str(error), hint="choose another place."
        ) from error
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
    store = provision.store(transport, plan)
    form = Form(input, store)
    left_out: list[str] = []
    outgoing = list(_again(selection.read(transport), input.topic, form, form.from_text(repairs), known, left_out))
    _send(transport, input, store, outgoing, left_out, dry_run)


def from_file(transport: Transport, plan: Plan, input: Input, path: Path, known: Known, dry_run: bool) -> None:
    """Send the edited events of a file, all of them or none. Raises SchemaError naming the first line that does not fit."""
    store = provision.store(transport, plan)
    form = Form(input, store)
    left_out: list[str] = []
    outgoing = list(_edited(path, input.topic, form, known, left_out))
    _send(transport, input, store, outgoing, left_out, dry_run)


def _send(
    transport: Transport,
    input: Input,
    store: SchemaStore,
    outgoing: list[Outgoing],
    left_out: list[str],
    dry_run: bool,
) -> None:
    """Raises SamestreamError where all that was chosen was left out."""
    for why in left_out:
        print(f"left out: {why}")
    if left_out and not outgoing:
        raise SamestreamError(
            "nothing is left to send",
            where=input.topic,
            found=f"{len(left_out)} left out",
            hint="see the lines above for why; select other events, or repair these by file.",
        )
    told = ""
    if dry_run:
        deaths = _deaths(input, store, outgoing)
        for record, death in zip(outgoing, deaths, strict=True):
            again = f", dead again: {': '.join(death)}" if death else ""
            print(f"would send {(record.headers[0][1] or b'').decode()}{again}")
        reasons = Counter(death[0] for death in deaths if death)
        why = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        told = f"; {reasons.total()} of them would be dead again: {why}" if reasons else "; none would be dead again"
    elif outgoing:
        send_all(transport, outgoing)
    print(f"{'would send' if dry_run else 'sent'} {len(outgoing)} events to {input.topic}{told if outgoing else ''}")


def _deaths(input: Input, store: SchemaStore, outgoing: list[Outgoing]) -> list[tuple[str, str] | None]:
    """What the processors would say of these records if they came now: reason and detail of those that are dead."""
    now_us = time.time_ns() // 1000
    came = Fetched(
        Partition(input.topic, 0),
        np.arange(len(outgoing)),
        np.array([now_us if record.known_us == NOW else record.known_us for record in outgoing], np.int64),
        [record.key for record in outgoing],
        [record.value for record in outgoing],
    )
    found = Decoder(input, store).decode(came, UNKNOWN_KNOWN_US).deaths
    return [found.get(row) for row in range(len(outgoing))]


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
                left_out.append(f"{one.place} cannot be decoded, so no field can be set ({one.reason}: {one.detail})")
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
            known_us = said if isinstance(said, int) else (datetime.fromisoformat(said) - _EPOCH) // _US
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
