"""What changed between two declarations, what follows from it, and what to do about it.

A change is told in words (``over 1h -> 3h``) with everything it touches downstream. A consequence has a code: those in
`REFUSED` make `samestream apply` refuse, unless it is one of `ALLOWABLE` and the operator allows it by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from samestream.schemas import durations
from samestream.schemas.avro import Schema
from samestream.schemas.evolution import violations
from samestream.streams.deploy.declaration import Declaration, Part

ALLOWABLE = {
    "required": "a field is new and needs a value that events already written do not have",
    "removed-field": "a field is gone that what runs now still reads",
    "topic": "an event moved to another topic",
    "retention": "a topic holds less than a window looks back",
}
"""The refusals that an operator may overrule, by code."""
REFUSED = {
    "key": "an event has another key",
    "kind": "a field has a type that cannot stand for the old one",
    "name": "an event has another name, which is that of its Avro record",
    "partitions": "a topic has another number of partitions",
} | ALLOWABLE
"""Why `samestream apply` refuses, by code."""

Level = Literal["full", "backward", "forward", "none"]


@dataclass(frozen=True)
class Change:
    """One part that was added, removed, renamed, changed in meaning or only described otherwise.

    touches : the parts computed from it, directly or through others
    """

    part: str
    kind: str
    how: Literal["added", "removed", "renamed", "changed", "described"]
    words: str = ""
    touches: tuple[str, ...] = ()


@dataclass(frozen=True)
class Consequence:
    """What follows from changes, and the remedy."""

    code: str
    where: str
    what: str
    remedy: str

    @property
    def is_refused(self) -> bool:
        """Whether `samestream apply` refuses it."""
        return self.code in REFUSED


@dataclass(frozen=True)
class Difference:
    """All that tells two declarations apart.

    schemas : by topic, how far its old and new schemas read each other; those that are equal are left out
    outputs : by model that a change touches, its topics, whose consumers and training data are touched, too
    """

    changes: tuple[Change, ...]
    consequences: tuple[Consequence, ...]
    schemas: Mapping[str, Level]
    outputs: Mapping[str, tuple[str, ...]]

    @property
    def is_same(self) -> bool:
        """Whether no value and no description changed."""
        return not self.changes and not self.consequences


def compare(before: Declaration, after: Declaration) -> Difference:
    """What changed from one declaration to another."""
    changes = tuple(_changes(before, after))
    schemas: dict[str, Level] = {
        _topic(name, after): level(before.schemas[name], after.schemas[name])
        for name in after.schemas
        if name in before.schemas and before.schemas[name] != after.schemas[name]
    }
    touched = {part for change in changes if change.how != "described" for part in (change.part, *change.touches)}
    outputs = {
        name: tuple(topic for key, topic in after.topics.items() if key.startswith(f"{name}."))
        for name in after.models
        if name in touched
    }
    return Difference(changes, tuple(_consequences(before, after, changes)), schemas, outputs)


def returned(earlier: Sequence[Declaration], after: Declaration) -> list[Consequence]:
    """The fields that were taken away in an earlier version and come back as something else.

    Comparing with the last version alone takes them for new; but the log still holds what they were.
    """
    found: dict[str, Consequence] = {}
    for old in reversed(earlier):
        for name, part in old.parts.items():
            now = after.parts.get(name)
            if part.kind not in ("event", "table") or now is None or old.topics[name] != after.topics[name]:
                continue
            had, has = (_fields(name, one) for one in (old, after))
            for field in unreadable(old.schemas[name], after.schemas[name]):
                if field in had and field in has:
                    found[f"{name}.{field}"] = Consequence(
                        "kind",
                        f"{name}.{field}",
                        f"{had[field]} in version {old.version} -> {has[field]}: events written then cannot be read any more",
                        f"give the field a name that {after.topics[name]} never held, such as {field}_2.",
                    )
    return list(found.values())


def level(before: Schema, after: Schema) -> Level:
    """How two record schemas read each other: backward, if the new one reads what the old one wrote; forward; full; none."""
    backward, forward = not unreadable(before, after), not unreadable(after, before)
    return "full" if backward and forward else "backward" if backward else "forward" if forward else "none"


def unreadable(writer: Schema, reader: Schema) -> list[str]:
    """The fields of a reader that cannot be filled from what a writer wrote, nested ones as ``address.city``."""
    found = (violation.path.partition(".")[2] for violation in violations(writer, reader))
    return list(dict.fromkeys(path.replace("[]", "").replace("{}", "") for path in found))


def in_words(before: str, after: str) -> str:
    """Two texts as ``before -> after``; where only options of calls differ, just these: ``over 1h -> 3h``.

    >>> in_words("x.mean(over='1h')", "x.mean(over='3h')")
    'over 1h -> 3h'
    """
    option = re.compile(r"(\w+)=('[^']*'|[^,()'\s]+)")
    old, new = option.findall(before), option.findall(after)
    if old and option.sub(r"\1=", before) == option.sub(r"\1=", after):
        pairs = zip(old, new, strict=True)
        told = [f"{name} {was} -> {now}".replace("'", "") for (name, was), (_, now) in pairs if was != now]
        return ", ".join(dict.fromkeys(told))
    return f"{before} -> {after}"


def _changes(before: Declaration, after: Declaration) -> Iterator[Change]:
    gone = {name: part for name, part in before.parts.items() if name not in after.parts}
    for name, part in after.parts.items():
        touches = _touched(name, after)
        old = before.parts.get(name)
        if old is None:
            same = [other for other, one in gone.items() if (one.kind, one.digest) == (part.kind, part.digest)]
            if same and part.kind not in ("field", "event", "table"):
                gone.pop(same[0])
                yield Change(name, part.kind, "renamed", f"{same[0]} -> {name}, the same meaning", touches)
            else:
                yield Change(name, part.kind, "added", part.words.get("is", ""), touches)
        elif old.digest != part.digest and old.words == part.words:
            continue  # it means something else only through what it reads, and is among what that touches
        elif old.digest != part.digest:
            yield Change(name, part.kind, "changed", _differing(old.words, part.words), touches)
        elif old.about != part.about:
            yield Change(name, part.kind, "described", _differing(old.about, part.about))
    for name, part in gone.items():
        yield Change(name, part.kind, "removed", part.words.get("is", ""), _touched(name, before))


def _touched(name: str, declaration: Declaration) -> tuple[str, ...]:
    return tuple(part for part in declaration.touched_by(name) if declaration.parts[part].kind != "field")


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    told = []
    for name in dict.fromkeys((*before, *after)):
        was, now = before.get(name, "none"), after.get(name, "none")
        if was != now:
            told.append(in_words(was, now) if name == "is" else f"{name} {was} -> {now}")
    return "; ".join(told)


def _consequences(before: Declaration, after: Declaration, changes: tuple[Change, ...]) -> Iterator[Consequence]:
    for name, part in before.parts.items():
        if part.kind in ("event", "table"):
            yield from _of_event(name, before, after)
    rebuilt = [change for change in changes if change.kind == "feature" and change.how in ("added", "changed")]
    if rebuilt:
        reach = durations.text(max(after.parts[change.part].reach_us for change in rebuilt))
        yield Consequence(
            "state",
            ", ".join(change.part for change in rebuilt),
            f"their state is rebuilt from the log, as far back as {reach}",
            "`samestream rebuild MODULE` where the role keeps snapshots, which are of the old definition; without any, the next "
            "start of `samestream run` replays the journal. Either takes as long as that part of the log.",
        )
    for name, mark in after.models.items():
        if name in before.models and before.models[name] != mark:
            yield _of_definition(name, before, after)
        if name in before.models and (late := _label_changed(name, before, after)):
            yield Consequence(
                "label",
                late,
                "outcomes from before and after the change answer different questions",
                f"train with `samestream train MODULE --model {name} --from` the instant of the change.",
            )
    for name in before.models:
        if name not in after.models:
            topics = [topic for key, topic in before.topics.items() if key.startswith(f"{name}.")]
            yield Consequence(
                "removed-model",
                name,
                f"nothing more is written to {', '.join(topics)}",
                "tell their consumers; the topics stay until you delete them.",
            )


def _of_event(name: str, before: Declaration, after: Declaration) -> Iterator[Consequence]:
    was, now = before.parts[name], after.parts.get(name)
    if now is None:
        topic = before.topics[name]
        twins = [other for other, found in after.topics.items() if found == topic and other in after.schemas]
        if twins:
            yield Consequence(
                "name",
                name,
                f"{topic} is now declared as {twins[0]}; what was written as {name} cannot be read as that",
                f"keep the name {name}, or give {twins[0]} a topic of its own.",
            )
        return
    key, old_key = now.words["key"], was.words["key"]
    types = [one.parts[f"{name}.{found}"].words["type"] for one, found in ((before, old_key), (after, key))]
    if key != old_key or types[0] != types[1]:
        yield Consequence(
            "key",
            f"{name}.{key}",
            f"the key was {old_key} ({types[0]}) and is {key} ({types[1]}): what lies in {was.words['topic']} lies by the old one",
            "declare a new event with a topic of its own, and move its producers there.",
        )
    if now.words["topic"] != was.words["topic"]:
        yield Consequence(
            "topic",
            name,
            f"{was.words['topic']} -> {now.words['topic']}: what is in the old topic is no longer read",
            "keep the topic's name; or move the producers first, let the processors read the old one to its end,"
            " and apply with --allow topic: windows then fill anew.",
        )
    if _length(now.words.get("lateness", "0s")) < _length(was.words.get("lateness", "0s")):
        yield Consequence(
            "lateness",
            name,
            f"{was.words['lateness']} -> {now.words['lateness']}: events that were applied would now come too late",
            f"expect more in {now.words['topic']}.late, and replays that differ from what was served.",
        )
    yield from _of_schema(name, before, after)


def _of_schema(name: str, before: Declaration, after: Declaration) -> Iterator[Consequence]:
    old, new = before.schemas[name], after.schemas[name]
    had, has = (_fields(name, one) for one in (before, after))
    key = {before.parts[name].words["key"], after.parts[name].words["key"]}
    backward, forward = unreadable(old, new), unreadable(new, old)
    for field in backward:
        if field in key:
            continue
        if field in had or any(path.startswith(f"{field}.") for path in had):
            types = f"{had.get(field, 'a record')} -> {has.get(field, 'a record')}"
            yield Consequence(
                "kind",
                f"{name}.{field}",
                f"{types}: events already written cannot be read any more",
                f"keep the type, and declare a new field beside it, such as {field}_2.",
            )
        else:
            yield Consequence(
                "required",
                f"{name}.{field}",
                "events already written have no such field, and could not be read any more",
                f"declare it `| None`; or, if {after.topics[name]} is still empty, apply with --allow required.",
            )
    for field in forward:
        if field in has and field not in key and field not in backward:
            yield Consequence(
                "forward",
                f"{name}.{field}",
                "what runs now cannot read events of the new type",
                "apply, restart every process of the app, and only then let producers send it.",
            )
    for field in had:
        if field in has or field in key:
            continue
        readers = [part for part in before.touched_by(f"{name}.{field}") if before.parts[part].kind != "field"]
        needed = any(field == path or field.startswith(f"{path}.") for path in forward)
        if readers or needed:
            yield Consequence(
                "removed-field",
                f"{name}.{field}",
                f"what runs now still reads it: {', '.join(readers[:6]) or 'every process that reads the event'}",
                "keep it until nothing deployed reads it; or stop those processes, and apply with --allow removed-field.",
            )


def _fields(event: str, declaration: Declaration) -> dict[str, str]:
    """The type of each flat field of an event, by its path."""
    parts = declaration.parts.items()
    mine = [(name, part) for name, part in parts if part.kind == "field" and name.startswith(f"{event}.")]
    return {name.removeprefix(f"{event}."): part.words["type"] for name, part in mine}


def _of_definition(name: str, before: Declaration, after: Declaration) -> Consequence:
    if before.engine != after.engine and _meaning_of(name, before) == _meaning_of(name, after):
        return Consequence(
            "engine",
            name,
            f"{before.engine} -> {after.engine}: values may differ in the last bit, so vectors get another fingerprint",
            f"train again: samestream train MODULE --model {name}.",
        )
    return Consequence(
        "definition",
        name,
        f"its vectors get another fingerprint ({before.models[name]} -> {after.models[name]}): a champion trained on the"
        " old ones scores none of them, and training uses only the new ones",
        f"run it until labels have come, then `samestream train MODULE --model {name}`. To go on scoring meanwhile,"
        f" keep {name} as it was and declare the new one beside it under another name.",
    )


def _meaning_of(model: str, declaration: Declaration) -> list[tuple[str, str]]:
    parts = declaration.parts.items()
    return [
        (name, part.digest) for name, part in parts if part.kind in ("event", "table") or name.startswith(f"{model}.")
    ]


def _label_changed(model: str, before: Declaration, after: Declaration) -> str:
    """The name of a model's label, if it is another one than before; otherwise nothing."""

    def label(declaration: Declaration) -> list[tuple[str, Part]]:
        return [
            (n, part) for n, part in declaration.parts.items() if part.kind == "label" and n.startswith(f"{model}.")
        ]

    old, new = label(before), label(after)
    return new[0][0] if [part.digest for _, part in old] != [part.digest for _, part in new] else ""


def _topic(name: str, declaration: Declaration) -> str:
    return declaration.topics.get(name) or declaration.topics[f"{name}.features"]


def _length(text: str) -> int:
    return durations.parse(text)
