"""What a monitor is told of an event type: which fields it looks at, and what was declared of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SourceSpec:
    """An event type that feeds a model.

    numeric_fields, text_fields, flag_fields, instant_fields : fields looked at: numbers, texts, true and false, and instants,
    which are judged by how far they are from the event's own time. low, high : declared ranges, by field, where there are any.
    units : declared units, by field, where there are any.
    lateness_us : declared lateness in microseconds; told in the evidence of late data.
    group_fields : fields each of whose values is watched for being silent while others speak.
    is_table : it is a reference table, which speaks only when something changes, of whatever time: never silent, never late.
    """

    event: str
    numeric_fields: tuple[str, ...]
    low: Mapping[str, float]
    high: Mapping[str, float]
    lateness_us: int
    is_table: bool = False
    text_fields: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    group_fields: tuple[str, ...] = ()
    flag_fields: tuple[str, ...] = ()
    instant_fields: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """All that are looked at."""
        return *self.numeric_fields, *self.text_fields, *self.flag_fields, *self.instant_fields, *self.group_fields
