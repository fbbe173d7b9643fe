"""Text: letters, lengths, parts, and the bucket of a value's text."""

from __future__ import annotations

from typing import Any

from samestream.schemas.arithmetic import Add
from samestream.schemas.errors import DeclarationError
from samestream.schemas.kinds import Kind
from samestream.schemas.operation import Operation, kind_of


class TextOperation(Operation[Any]):
    """An operation on text only, which results in text."""

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        if any(kind is not Kind.STRING for kind in kinds):
            raise self.refuse("text", "cast(str) makes text of a whole number or a condition.")
        return Kind.STRING


class TextTest(TextOperation):
    """A condition on text."""

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        super().result_kind(*kinds)
        return Kind.BOOL


class Lower(TextOperation):
    """With the letters A to Z as small ones; all others stay, since engines differ on them."""

    written = "lower"


class Upper(TextOperation):
    """With the letters a to z as capitals; all others stay, since engines differ on them."""

    written = "upper"


class Concat(TextOperation):
    """One text after the other."""

    written, symbol = "concat", "+"


class Contains(TextTest):
    """Whether the second text stands somewhere in the first."""

    written = "contains"


class StartsWith(TextTest):
    """Whether the first text begins with the second."""

    written = "starts_with"


class Length(TextOperation):
    """How many code points the text has."""

    written = "length"

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        super().result_kind(*kinds)
        return Kind.INT


class HashBucket(Operation[Any]):
    """One of ``n`` buckets, 0 to n-1: the first 60 bits of the MD5 of the value's text, modulo n.

    The text is that of `casts.ToText`; of a time, its microseconds.
    """

    written, params = "hash_bucket", ("n",)

    def __init__(self, value: Any, n: int) -> None:
        self.n = n
        super().__init__(value)
        if type(n) is not int or not 0 < n <= 2**31:
            raise DeclarationError(
                "this is no number of buckets",
                where=repr(self),
                found=repr(n),
                expected=f"a whole number from 1 to {2**31}",
                hint="hash_bucket(100).",
            )

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        if kinds[0] not in (Kind.STRING, Kind.INT, Kind.BOOL, Kind.TIME):
            raise self.refuse(
                "text, a whole number, a condition or a time",
                "engines write floats differently: round and cast to int first.",
            )
        return Kind.INT


def plus(left: Any, right: Any) -> Operation[Any]:
    """What ``left + right`` is: texts are joined, all else is added."""
    return Concat(left, right) if Kind.STRING in (kind_of(left), kind_of(right)) else Add(left, right)
