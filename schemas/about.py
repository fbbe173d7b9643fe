"""What is said about a declaration for people and tools: no engine reads it, and it never changes a meaning."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self, TypedDict

from samestream.schemas.errors import DeclarationError


class Said(TypedDict, total=False):
    """The keywords of `Expr.described`."""

    doc: str
    owner: str
    tags: str | Iterable[str]
    unit: str
    low: float | None
    high: float | None
    pii: bool


@dataclass(frozen=True)
class About:
    """Documentation and ownership of a field, feature, view, event or model; it reaches Avro and the marketplace.

    low, high : the range that is expected; monitors watch it, nothing enforces it
    pii : whether the value says something about a person
    """

    doc: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    unit: str = ""
    low: float | None = None
    high: float | None = None
    pii: bool = False

    def checked(self, where: str, *, is_number: bool = True) -> Self:
        """The same; raises DeclarationError, naming ``where``, for what no schema and no monitor could hold.

        is_number : whether a range means anything
        """
        wrong = [(name, getattr(self, name), "text") for name in ("doc", "owner", "unit")]
        wrong += [("tags", tag, "text, or several texts") for tag in self.tags]
        wrong = [one for one in wrong if not isinstance(one[1], str)]
        if not isinstance(self.pii, bool):
            wrong.append(("pii", self.pii, "True or False"))
        bounds = [(name, bound) for name in ("low", "high") if (bound := getattr(self, name)) is not None]
        wrong += [(name, bound, "a finite int or float") for name, bound in bounds if not _is_finite(bound)]
        if not wrong and len(bounds) == 2 and bounds[0][1] > bounds[1][1]:
            wrong.append(("low", self.low, f"at most high={self.high!r}"))
        if not is_number:
            wrong += [(name, bound, "nothing, for a range is of numbers") for name, bound in bounds]
        if wrong:
            names, found, expected = zip(*wrong, strict=True)
            raise DeclarationError(
                "what is said of it means nothing",
                where=where,
                found=", ".join(f"{name}={value!r:.60}" for name, value in zip(names, found, strict=True)),
                expected="; ".join(f"{name}: {text}" for name, text in dict(zip(names, expected, strict=True)).items()),
                hint='such as doc="Minutes late", owner="ops", tags=("delay",), unit="min", low=-60, high=1500, pii=False.',
            )
        return self

    def within(self, view: About) -> About:
        """The same of a feature of a view, whose owner and tags hold for it too."""
        return replace(self, owner=self.owner or view.owner, tags=tuple(dict.fromkeys(view.tags + self.tags)))

    def properties(self) -> dict[str, Any]:
        """What was said, as the properties of an Avro field or record."""
        found: dict[str, Any] = {name: value for name in ("doc", "owner", "unit") if (value := getattr(self, name))}
        if self.tags:
            found["tags"] = list(self.tags)
        found |= {name: bound for name in ("low", "high") if (bound := getattr(self, name)) is not None}
        return found | ({"pii": True} if self.pii else {})


def about_class(cls: type[Any], owner: str, tags: str | Iterable[str]) -> About:
    """What a class statement says about itself: its docstring on one line, its owner and its tags."""
    about = About(doc=" ".join((cls.__doc__ or "").split()), owner=owner, tags=as_tags(tags))
    return about.checked(cls.__name__)


def as_tags(tags: str | Iterable[str]) -> tuple[str, ...]:
    """One tag or several as a tuple; what is neither stands in it for `About.checked` to refuse."""
    return tuple(tags) if isinstance(tags, Iterable) and not isinstance(tags, str) else (tags,)


def _is_finite(bound: Any) -> bool:
    return isinstance(bound, (int, float)) and not isinstance(bound, bool) and math.isfinite(bound)
