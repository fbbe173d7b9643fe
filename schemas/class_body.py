"""The body of a declared class: every public name in it means something, or is refused. Nothing is passed over in silence."""

from __future__ import annotations

import inspect
from typing import Any

from samestream.schemas.errors import DeclarationError

# A field may be called so: its event's rows are then counted by another field, such as the key.
MAY_HIDE = frozenset({"count", "time_since_last"})


def public(cls: type[Any]) -> dict[str, Any]:
    """What the class itself declares by name, in order, but for names with an underscore.

    Raises DeclarationError for a name that Avro does not know.
    """
    found = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
    for name in found:
        if not name.isascii():
            raise DeclarationError(
                "a name is not written in ASCII",
                where=f"{cls.__name__}.{name}",
                found=name,
                expected="letters a to z, digits and underscores",
                hint="Avro knows no others.",
            )
    return found


def refuse_kept(cls: type[Any], mark: str) -> None:
    """Raise DeclarationError for a name that the class has a use for itself, such as ``by`` and ``topic``.

    mark : a name that every declared class of this kind has: none may be derived from another
    """
    above = [base for base in cls.__mro__[1:] if base is not object]
    if declared := [base for base in above if mark in vars(base)]:
        kind = next(base for base in above if mark not in vars(base))
        raise DeclarationError(
            "a declared class is not derived from another",
            where=cls.__name__,
            found=f"class {cls.__name__}({declared[0].__name__})",
            expected=f"class {cls.__name__}({kind.__name__})",
            hint="declare it anew; fields that several events have can stand in a Record.",
        )
    kept = {name for base in above for name in (*inspect.get_annotations(base), *vars(base)) if name not in MAY_HIDE}
    for name in vars(cls):
        if name in kept and not name.startswith("_"):
            raise DeclarationError(
                "this name is kept",
                where=f"{cls.__name__}.{name}",
                found=name,
                expected=f"none of {', '.join(sorted(one for one in kept if not one.startswith('_')))}",
                hint="choose another name.",
            )


def stray(cls: type[Any], name: str, value: Any, expected: str) -> DeclarationError:
    """The error for an attribute that means nothing in the class."""
    hint = f"what is for yourself begins with an underscore: _{name}."
    if callable(getattr(value, "then", None)):
        hint = "finish it: when(...).then(...).otherwise(...)."
    elif inspect.ismethod(value):
        hint = f"it is a method: call it, .{value.__name__}(...)."
    return DeclarationError(
        "this attribute means nothing here",
        where=f"{cls.__name__}.{name}",
        found=f"{value!r:.80}",
        expected=expected,
        hint=hint,
    )
