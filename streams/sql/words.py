"""What `lookup` and `log` leave to a database: the few words in which SQL dialects differ, and who runs the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from samestream.schemas.aggregates import Aggregate
from samestream.streams.plan import Input
from samestream.streams.sql.aggregates import Bag, Summary
from samestream.streams.sql.dialect import Dialect


@dataclass(frozen=True)
class Words:
    """How one database says what others say differently.

    dialect : of expressions
    aggregate : the rule of an aggregate
    items : a query that numbers the values of a column of a table (`aggregates.items`)
    midnight : the local midnight at which the period ("day", "week", "month") of the column `instant` began, by the clock of a
        zone, in microseconds of local time
    floored : a whole number divided by a step, rounded down also where it is negative
    key : from the columns of a key to one value by which rows are joined
    place : where an event lies in its key's order
    levels : a query for the whole numbers `level` below a count
    each : one row for every whole number from the first value up to, not including, the second
    frames : whether window functions take frames that differ from row to row, and joins find the row as of a time
    in_part : a condition that the values of some columns belong to one of so many parts; None where the database itself
        divides what is large
    """

    dialect: Dialect
    aggregate: Callable[[Aggregate], Summary | Bag]
    items: Callable[[str, str], str]
    midnight: Callable[[str, str], str]
    floored: Callable[[str, int], str]
    key: Callable[[Sequence[str]], str]
    place: str
    levels: Callable[[int], str]
    each: Callable[[str, str], str]
    frames: bool = False
    in_part: Callable[[Sequence[str], int, int], str] | None = None


class Database(Protocol):
    """What runs the text."""

    @property
    def words(self) -> Words:
        """How to speak to it."""

    def make(self, table: str, query: str) -> None:
        """Make a temporary table, in place of one of that name."""

    def add(self, table: str, query: str) -> None:
        """Add the rows of a query to a table that was made."""

    def join(self, table: str, base: str, answers: Sequence[str], columns: str) -> None:
        """Make a table of expressions over the rows of another, each with its row of every table of answers, by `_row`."""

    def latest(self, table: str, keys: str, event: Input, by: str, value: str) -> bool:
        """Make a table of `_row`, `t` and `x`, the latest event of each row of `asked` with its value; `latest.latest`.

        keys : the name of the column of `keys`. Whether it is made: not where the database has no such way, or too many ask.
        """

    def number(self, query: str) -> float:
        """The one value of a query, 0 for null."""
