"""Whether schemas may change: what the Avro specification's resolution rules say of one reading the other's records.

``backward``: the new schema reads what was written with the old one (readers are changed first). ``forward``: the old one reads
what is written with the new one (writers first). ``full``: both. Each holds against the latest old schema, or, transitive,
against all of them.

Beyond the specification, a time of another unit and a decimal of other digits count as violations: bytes and fingerprint
are the same, so nobody who reads could notice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from samestream.schemas.avro_names import Names, kind_of_type, logical, simple_name

Schema = dict[str, Any]
_PROMOTED = {
    "int": ("int", "long", "float", "double"),
    "long": ("long", "float", "double"),
    "float": ("float", "double"),
    "string": ("string", "bytes"),
    "bytes": ("bytes", "string"),
}
_NAMED = ("record", "enum", "fixed")
_ADD_DEFAULT = "give it a default, or declare it `| None`."


class Level(StrEnum):
    """What must stay readable; the names are those of schema registries, in small letters."""

    NONE = "none"
    BACKWARD = "backward"
    BACKWARD_TRANSITIVE = "backward_transitive"
    FORWARD = "forward"
    FORWARD_TRANSITIVE = "forward_transitive"
    FULL = "full"
    FULL_TRANSITIVE = "full_transitive"


@dataclass(frozen=True)
class Violation:
    """One reason why some records could not be read, or would be misread.

    path : ``Order.address.city``; ``Order.tags[]`` and ``Order.limits{}`` are elements
    reading : which schema reads which
    """

    path: str
    found: str
    expected: str
    hint: str
    reading: str = ""

    @property
    def line(self) -> str:
        """For people, on one line."""
        reading = f" ({self.reading})" if self.reading else ""
        return f"{self.path}{reading}: found {self.found}; expected {self.expected}. Hint: {self.hint}"


def check(new: Schema, old: Sequence[Schema], level: Level) -> list[Violation]:
    """Every violation of a level by a new schema; ``old`` are the ones before, the latest last. None where there are none."""
    if level is Level.NONE or not old:
        return []
    found: list[Violation] = []
    chosen = range(len(old)) if level.endswith("_transitive") else [len(old) - 1]
    for number in chosen:
        name = f"version {number + 1}" if len(old) > 1 else "the old schema"
        if level.startswith(("backward", "full")):
            reading = f"the new schema reads {name}"
            found += [replace(part, reading=reading) for part in violations(old[number], new)]
        if level.startswith(("forward", "full")):
            reading = f"{name} reads the new schema"
            found += [replace(part, reading=reading) for part in violations(new, old[number])]
    return found


def violations(writer: Schema, reader: Schema) -> list[Violation]:
    """Why ``reader`` could not read all that ``writer`` writes; empty if it can."""
    pair = _Pair(Names(writer), Names(reader))
    return list(pair.resolve(pair.writer.schema, pair.reader.schema, simple_name(writer)))


class _Pair:
    """Two schemas that are walked side by side."""

    def __init__(self, writer: Names, reader: Names) -> None:
        self.writer, self.reader = writer, reader
        self._inside: set[tuple[str, str]] = set()

    def resolve(self, written: Any, asked: Any, path: str) -> Iterator[Violation]:
        written, asked = self.writer.find(written), self.reader.find(asked)
        if isinstance(written, list):
            for member in written:
                yield from self.resolve(member, asked, path)
            return
        if isinstance(asked, list):
            match = next((part for part in map(self.reader.find, asked) if self._fits(written, part)), None)
            if match is None:
                hint = "a value once written stays readable: keep its type in the union."
                if written == "null":
                    hint = "declare it `| None`."
                yield Violation(
                    path, _told(written), " or ".join(_told(self.reader.find(part)) for part in asked), hint
                )
                return
            asked = match
        if not self._fits(written, asked):
            yield self._mismatch(written, asked, path)
            return
        kind = kind_of_type(written)
        if kind == "record":
            yield from self._record(written, asked, path)
        elif kind == "enum":
            lost = [symbol for symbol in written["symbols"] if symbol not in asked["symbols"]]
            if lost and "default" not in asked:
                hint = "keep the symbols; new ones are known to readers first."
                yield Violation(path, f"symbols {', '.join(lost)}", f"one of {', '.join(asked['symbols'])}", hint)
        elif kind == "array":
            yield from self.resolve(written["items"], asked["items"], f"{path}[]")
        elif kind == "map":
            yield from self.resolve(written["values"], asked["values"], f"{path}{{}}")
        else:
            yield from _meaning(written, asked, path)

    def _record(self, written: Any, asked: Any, path: str) -> Iterator[Violation]:
        pair = written["name"], asked["name"]
        if pair in self._inside:
            return
        self._inside.add(pair)
        theirs = {field["name"]: field for field in written["fields"]}
        for field in asked["fields"]:
            names = [field["name"], *field.get("aliases", [])]
            other = next((theirs[name] for name in names if name in theirs), None)
            here = f"{path}.{field['name']}"
            if other is not None:
                yield from self.resolve(other["type"], field["type"], here)
            elif "default" not in field:
                yield Violation(here, "no such field in what was written", "a field with a default", _ADD_DEFAULT)
        self._inside.discard(pair)

    def _fits(self, written: Any, asked: Any) -> bool:
        """Whether a type can be read as another, as far as can be seen without looking inside."""
        ours, theirs = kind_of_type(written), kind_of_type(asked)
        if ours in _NAMED and ours == theirs:
            if ours == "fixed" and written["size"] != asked["size"]:
                return False
            aliases = [alias.rpartition(".")[2] for alias in asked.get("aliases", [])]
            return simple_name(written) in (simple_name(asked), *aliases)
        return theirs in _PROMOTED.get(ours, (ours,))

    def _mismatch(self, written: Any, asked: Any, path: str) -> Violation:
        hint = "a field keeps its type: add another field, with a default, and retire this one."
        if kind_of_type(written) == kind_of_type(asked) and kind_of_type(asked) in ("record", "enum", "fixed"):
            hint = "a type keeps its name" + (" and size." if kind_of_type(asked) == "fixed" else ".")
        elif written == "null":
            hint = "it may be null in what was written: keep it `| None`."
        return Violation(path, _told(written), _told(asked), hint)


def _meaning(written: Any, asked: Any, path: str) -> Iterator[Violation]:
    """Where the bytes can be read, but would mean something else."""
    ours, theirs = logical(written), logical(asked)
    if ours == theirs == "decimal":
        digits = [(part["precision"], part.get("scale", 0)) for part in (written, asked)]
        if digits[0] != digits[1]:
            yield Violation(
                path, _told(written), _told(asked), "a decimal keeps its digits and scale: add another field."
            )
    elif ours and theirs and ours != theirs:
        yield Violation(path, _told(written), _told(asked), "what a number means cannot change: add another field.")


def _told(type_: Any) -> str:
    kind, meant = kind_of_type(type_), logical(type_)
    if meant == "decimal":
        return f"decimal({type_['precision']}, {type_.get('scale', 0)})"
    if kind in _NAMED:
        return f"{kind} {simple_name(type_)}" + (f" of {type_['size']} bytes" if kind == "fixed" else "")
    return meant or kind
