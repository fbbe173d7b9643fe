"""What a training set is asked to be: of which model, by which reading of the log, of which times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from samestream.schemas.errors import TrainingError

Mode = Literal["served", "as_known", "point_in_time"]
PARTS = {0: ("rows",), 1: ("train", "test"), 2: ("train", "validation", "test")}
"""How the files are called, by the number of splits."""


@dataclass(frozen=True)
class Request:
    """What is asked for; times in microseconds since 1970, UTC.

    mode : *served* are the logged vectors; *as_known* are computed in SQL from the events applied before each trigger;
        *point_in_time* from all events, as an observer to whom none comes late.
    from_us, to_us : trigger event times, in [from, to)
    as_of_us : nothing counts that the log learned of at this instant or later
    splits_us : event times at which the next part begins: one divides train from test, two have validation between
    rows : a file of keys and instants, `asked_rows.read`; instead of the triggers in the log
    """

    model: str
    mode: Mode = "served"
    from_us: int | None = None
    to_us: int | None = None
    as_of_us: int | None = None
    splits_us: tuple[int, ...] = ()
    rows: str | None = None

    def check(self) -> None:
        """Raises TrainingError where this asks for nothing."""
        bounds = [bound for bound in (self.from_us, *self.splits_us, self.to_us) if bound is not None]
        if bounds != sorted(set(bounds)):
            raise TrainingError(
                "the times do not follow each other",
                where=self.model,
                found=" ".join(map(text_of, bounds)),
                expected="--from, then every --split, then --to",
                hint="--to is exclusive, and no part may be empty.",
            )
        if len(self.splits_us) not in PARTS:
            raise TrainingError(
                "too many splits", where=self.model, found=len(self.splits_us), expected="at most 2", hint="see --help."
            )
        if self.rows is not None and self.mode == "served":
            raise TrainingError(
                "rows of your own were never served",
                where="--rows",
                found=f"--mode {self.mode}",
                hint="add --mode point_in_time, or as_known for what had been applied by then.",
            )


def text_of(time_us: int | None) -> str:
    """An instant as it is told."""
    return "any" if time_us is None else f"{np.datetime64(time_us, 'us')}Z"
