"""What is said about a declaration for people and tools: no engine reads it, and it never changes a meaning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any


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
    return About(doc=" ".join((cls.__doc__ or "").split()), owner=owner, tags=as_tags(tags))


def as_tags(tags: str | Iterable[str]) -> tuple[str, ...]:
    """One tag or several as a tuple."""
    return (tags,) if isinstance(tags, str) else tuple(tags)
