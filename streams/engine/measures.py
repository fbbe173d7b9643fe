"""Figures that a role offers besides its health: what `/metrics` and `samestream monitor` show of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, Protocol, runtime_checkable


class Measure(NamedTuple):
    """One figure, now. name : without the prefix ``samestream_``; all measures of a name have the same kind and help."""

    name: str
    says: str
    labels: Mapping[str, str]
    value: float
    kind: Literal["gauge", "counter"] = "gauge"


@runtime_checkable
class Measured(Protocol):
    """A role, or the task of a processor, that has figures of its own. Asked from another thread: it must not wait."""

    def measures(self) -> Iterable[Measure]:
        """The figures as they are now."""


def measures_of(role: object) -> list[Measure]:
    """The figures of a role, or of the task that it runs; none where it has none."""
    owners = [one for one in (role, getattr(role, "task", None)) if isinstance(one, Measured)]
    return [measure for one in owners for measure in one.measures()]


def foreign_vectors(role: str, model: str, count: int) -> Measure:
    """Vectors that a role has met which another definition made than the one it knows."""
    says = "Vectors made by another definition than the role, or the model it scores with, was made for."
    return Measure("vectors_of_another_definition_total", says, {"role": role, "model": model}, count, "counter")
