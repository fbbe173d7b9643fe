"""Forgetting a person: whatever the log says of a value of a field that is declared `pii=True`.

In events the value becomes a random token that is kept nowhere else, and every other personal field of the row null. So the
row still counts for whoever else's features it is part of, and nobody can tell whose it was. Vectors, predictions and
outcomes of such a trigger keep only where they belong. All these rows are marked (`feature_log.ERASED`), and the files
that said more are removed. Topics of Kafka are not touched: there, retention and compaction decide.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samestream.schemas.errors import SettingsError
from samestream.streams.log import rewriting
from samestream.streams.log.feature_log import ERASED, FeatureLog
from samestream.streams.plan import Input, ModelPlan, Plan

Places = Collection[tuple[int, int]]
"""Partition and offset of triggers."""
_KEPT = frozenset({"_partition", "_offset", "_known", "event_time", "fingerprint", "model", "version", ERASED})
_PASSES = 5


@dataclass(frozen=True)
class Forgotten:
    """How many rows of a topic of the log said something of the person, and how many files with it were removed."""

    topic: str
    rows: int
    files: int


def personal(input: Input) -> list[str]:
    """The fields of an event that are declared to say something of a person."""
    return [field["name"] for field in input.schema["fields"] if field.get("pii") and field["name"] in input.columns]


def forget(plan: Plan, log: FeatureLog, field: str, value: str) -> list[Forgotten]:
    """Erase what the log says of those whose ``field``, in any event where it is personal, has this value.

    Killed, the same call does the rest. Raises SettingsError where no event declares such a field.
    """
    concerned = declaring(plan, field)
    token, found = f"erased-{secrets.token_hex(8)}", []
    # events last: while they are there, it can be found which triggers are concerned
    for model in plan.models.values():
        input = plan.events[model.trigger]
        if input in concerned:
            triggers = _places(log, input, field, value)
            found += [_erase(log, model.topics[kind], _of_triggers(triggers, token)) for kind in _KINDS]
    found += [_erase(log, input.topic, _of_person(input, field, value, token)) for input in concerned]
    return found


def declaring(plan: Plan, field: str) -> list[Input]:
    """The events that declare a field to be personal. Raises SettingsError where there are none."""
    concerned = [input for input in plan.events.values() if field in personal(input)]
    if not concerned:
        declared = sorted({f"{input.name}.{name}" for input in plan.events.values() for name in personal(input)})
        raise SettingsError(
            "no event declares this field to be personal",
            where="--key",
            found=field,
            expected=", ".join(declared) or "a field with pii=True",
            hint="declare it: key(pii=True) or field(pii=True).",
        )
    return concerned


def erased_triggers(plan: Plan, model: ModelPlan, log: FeatureLog) -> set[tuple[int, int]]:
    """Partition and offset of triggers that were erased."""
    topic = plan.inputs[model.trigger].topic
    newest = log.newest(topic)
    if newest is None or ERASED not in newest.schema.names:
        return set()
    table = log.read(topic, ["_partition", "_offset", ERASED])
    columns = (table[name].to_pylist() for name in ("_partition", "_offset", ERASED))
    return {(partition, offset) for partition, offset, gone in zip(*columns, strict=True) if gone}


def without_erased(table: pa.Table) -> pa.Table:
    """The rows of a table of the log that were not erased."""
    if ERASED not in table.column_names:
        return table
    return table.filter(pa.array([gone is not True for gone in table[ERASED].to_pylist()], pa.bool_()))


_KINDS = ("features", "predictions", "outcomes")


def _places(log: FeatureLog, input: Input, field: str, value: str) -> set[tuple[int, int]]:
    if log.newest(input.topic) is None:
        return set()
    table = log.read(input.topic, ["_partition", "_offset", field])
    columns = (table[name].to_pylist() for name in ("_partition", "_offset", field))
    return {(partition, offset) for partition, offset, held in zip(*columns, strict=True) if str(held) == value}


def _erase(log: FeatureLog, topic: str, erased: rewriting.Erase) -> Forgotten:
    rows = files = 0
    for _ in range(_PASSES):  # what was appended during a pass is taken by the next
        done = rewriting.erase(log, topic, erased)
        if done.number is None:
            break
        rows += done.rows
    if rows:
        files = rewriting.clear(log, topic, 0)
    return Forgotten(topic, rows, files)


def _of_person(input: Input, field: str, value: str, token: str) -> rewriting.Erase:
    """Events: the field becomes a token, so does the key if it is the same, and other personal fields null."""

    def erased(table: pa.Table) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
        mine = np.array([str(held) == value for held in table[field].to_pylist()], np.bool_)
        made = _replaced(table, field, mine, token)
        if input.key == field:
            made = _replaced(made, "_key", mine, token)
        for other in personal(input):
            for column in table.column_names:
                if column.partition(".")[0] == other and other != field:
                    made = _replaced(made, column, mine, None)
        return made, mine

    return erased


def _of_triggers(triggers: Places, token: str) -> rewriting.Erase:
    """What was made of triggers: only where each row belongs is kept."""

    def erased(table: pa.Table) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
        places = zip(table["trigger_partition"].to_pylist(), table["trigger_offset"].to_pylist(), strict=True)
        mine = np.array([place in triggers for place in places], np.bool_)
        if ERASED in table.column_names:
            mine &= np.array([gone is not True for gone in table[ERASED].to_pylist()], np.bool_)
        made = table
        for column in table.column_names:
            if column in ("entity", "_key"):
                made = _replaced(made, column, mine, token)
            elif column not in _KEPT and not column.startswith("trigger_"):
                made = _replaced(made, column, mine, None)
        return made, mine

    return erased


def _replaced(table: pa.Table, name: str, mine: npt.NDArray[np.bool_], token: str | None) -> pa.Table:
    """The table with a column's values replaced in some rows."""
    type_, place = table.schema.field(name).type, table.column_names.index(name)
    if token is None:
        stand_in: Any = None
    elif pa.types.is_binary(type_):
        stand_in = token.encode()
    elif pa.types.is_integer(type_):
        stand_in = -int(token[-15:], 16)  # no key that anybody has
    else:
        stand_in = token
    values = [stand_in if gone else held for held, gone in zip(table[name].to_pylist(), mine.tolist(), strict=True)]
    return table.set_column(place, table.schema.field(name), pa.array(values, type_))
