"""What every aggregate is: an algebra of ``zero``, ``add``, ``merge`` and ``result``, in plain Python.

The state of some events is ``zero`` with each of them added, in the order in which they were applied; ``merge`` joins the
states of two stretches of time, the earlier one on the left; ``result`` is the value at an instant. States are immutable
values that pickle and compare. What the compiled kernel can hold says so by its cells (`streams.engine.tiles.CellOp`), and gives
the same bits there.

Values are ``int``, ``float`` (never NaN), ``bool``, ``str``, and times as whole microseconds since 1970.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Expr, Kind

At = tuple[int, int]  # when an event happened, in microseconds, and its position in the log

NUMBERS = frozenset({Kind.INT, Kind.FLOAT})
COMPARABLE = NUMBERS | {Kind.TIME, Kind.STRING}
EXACT = frozenset({Kind.INT, Kind.BOOL, Kind.TIME, Kind.STRING})
SCALARS = NUMBERS | EXACT
KERNEL_KINDS = NUMBERS | {Kind.BOOL, Kind.TIME}  # what fits a word of the kernel
WORDS = {
    Kind.INT: "whole numbers",
    Kind.FLOAT: "floats",
    Kind.BOOL: "conditions",
    Kind.TIME: "times",
    Kind.STRING: "text",
}


class Aggregate:
    """A summary of many values. Nulls are skipped; of no value the result is null."""

    accepts: ClassVar[frozenset[Kind]] = NUMBERS
    takes_rows: ClassVar[bool] = False
    """Whether it can be of the rows themselves, of which only count and time matter."""
    as_floats: ClassVar[bool] = False
    """Whether whole numbers are read as floats."""
    result_kind: ClassVar[Kind | None] = Kind.FLOAT
    """The kind of the result; None: that of the input."""
    refusal: ClassVar[str] = "count() and last() take any kind; or aggregate a condition, such as count(where=...)."

    def __init__(self, input: Expr[Any] | None) -> None:
        self.input = input
        if input is None and not self.takes_rows:
            raise DeclarationError(f"`{self.name}` needs values", where=self.name, hint="aggregate a field.")
        if input is not None and input.kind not in self.accepts:
            words = [word for kind, word in WORDS.items() if kind in self.accepts]
            raise DeclarationError(
                f"`{self.name}` does not take {WORDS.get(input.kind, input.kind.value + 's')}",
                where=repr(input),
                found=input.kind.value,
                expected=" or ".join(words),
                hint=self.refusal,
            )

    @property
    def name(self) -> str:
        """The aggregate as users write it: ``last_n``."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def params(self) -> tuple[Any, ...]:
        """What it was declared with besides its input; part of its meaning."""
        return ()

    def arguments(self) -> str:
        """Its parameters as users write them, where they are not the default."""
        return ", ".join(map(repr, self.params))

    @property
    def kind(self) -> Kind:
        """The kind of the result."""
        if self.result_kind is None:
            assert self.input is not None
            return self.input.kind
        return self.result_kind

    @property
    def item(self) -> Kind | None:
        """The kind of the elements, if the result is a list."""
        return self.input.kind if self.kind is Kind.LIST and self.input is not None else None

    def cells(self) -> tuple[tuple[str, int], ...]:
        """The kernel cells that hold its state, each with its parameter; none if it runs on the general path."""
        return ()

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        return [type(self).__name__, *self.params, self.input.meaning() if self.input is not None else None]

    def states(self) -> tuple[Any, ...]:
        """What its states depend on: aggregates of which this is equal, over one input, share them."""
        return (type(self).__name__, *self.params)

    def zero(self) -> Any:
        """The state of no event; merging it changes nothing."""
        raise NotImplementedError

    def add(self, state: Any, value: Any, at: At) -> Any:
        """The state with one more value."""
        raise NotImplementedError

    def merge(self, left: Any, right: Any) -> Any:
        """The state of two stretches of time, ``left`` being the earlier."""
        raise NotImplementedError

    def result(self, state: Any, t_us: int) -> Any:
        """The value at instant t; None if there is none."""
        raise NotImplementedError

    def _typed(self, cell: str) -> str:
        """The name of a cell for the kind of its input: ``SUM_*`` as ``SUM_INT``."""
        return cell.replace("*", "FLOAT" if self.input is not None and self.input.kind is Kind.FLOAT else "INT")

    def _fits_kernel(self) -> bool:
        return self.input is None or self.input.kind in KERNEL_KINDS


def wrap(number: int) -> int:
    """A whole number folded to 64 bits, as two's complement wraps.

    >>> wrap(2**63)
    -9223372036854775808
    """
    return (number + 2**63) % 2**64 - 2**63


def present(value: float) -> float | None:
    """The value, or None for NaN."""
    return None if value != value else value


def whole(number: Any, name: str, what: str, least: int, most: int) -> int:
    """A parameter that is a whole number in a range; raises DeclarationError for anything else."""
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise DeclarationError(
            f"`{name}` needs {what}",
            where=name,
            found=repr(number),
            expected=f"a whole number from {least:,} to {most:,}",
            hint=f"write {name}({min(max(least, 10), most)}).",
        )
    return number
