"""Lists and maps: their size, their elements, and what they hold."""

from __future__ import annotations

from typing import Any

from samestream.schemas.errors import DeclarationError
from samestream.schemas.kinds import Kind, constant
from samestream.schemas.operation import Operation


class ListOperation(Operation[Any]):
    """An operation on a list, its first argument."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if self.args[0].kind is not Kind.LIST:
            raise self.refuse("a list", "a list is a Field[list[str]], or of numbers, conditions or times.")


class ListLength(ListOperation):
    """How many elements the list has, null ones too."""

    written = "length"

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        return Kind.INT


class ListContains(ListOperation):
    """Whether an element of the list equals the value; a null element equals nothing."""

    written = "contains"

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        item = self.args[0].item
        if item is not kinds[1] and not (item is not None and item.is_number and kinds[1].is_number):
            raise self.refuse(
                "a value of the kind of the list's elements", "look for text among text, for numbers among numbers."
            )
        return Kind.BOOL


class At(ListOperation):
    """The element at a place, counted from 0, or from the end below 0 (-1 is the last); null where there is none."""

    written, params = "at", ("index",)

    def __init__(self, value: Any, index: int) -> None:
        self.index = index
        super().__init__(value)
        if type(index) is not int or not -(2**31) <= index < 2**31:
            raise DeclarationError(
                "this is no place in a list",
                where=repr(self),
                found=repr(index),
                expected="a whole number of 32 bits",
                hint="at(0) is the first, at(-1) the last element.",
            )

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        return self.args[0].item or kinds[0]


class Get(Operation[Any]):
    """The value under a key of a map; null where the map has no such key."""

    written, params = "get", ("key",)

    def __init__(self, value: Any, key: str) -> None:
        self.key = key
        super().__init__(value)
        if isinstance(key, str):
            constant(key)  # refuses what no map can hold
        else:
            raise DeclarationError(
                "the keys of a map are text",
                where=repr(self),
                found=repr(key),
                expected="a str",
                hint="get('name').",
            )

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        if kinds[0] is not Kind.MAP:
            raise self.refuse("a map", "a map is a Field[dict[str, float]], or of other values.")
        return self.args[0].item or Kind.STRING
