"""What declarations refer to: the views and the reference tables that models and features are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from samestream.schemas.aggregates import Windowed
from samestream.schemas.expressions import Expr
from samestream.schemas.features import FeatureRef, Features
from samestream.schemas.models import Model, lookup_keys
from samestream.schemas.tables import AsOf, Table


def views_of(model: type[Model]) -> list[type[Features]]:
    """The views whose features a model reads."""
    return [leaf.view for value in model.inputs.values() for leaf in value.leaves() if isinstance(leaf, FeatureRef)]


def lookups_of(models: Iterable[type[Model]], views: Iterable[type[Features]]) -> list[AsOf]:
    """Every lookup of a table's field, each after those it needs itself; the same one may come again."""
    values: list[Expr[Any]] = []
    for model in models:
        values += [*model.inputs.values(), *_keys(model)]
    for view in views:
        values += [*view.by, *(feature.expression for feature in view.features.values())]
    return [found for value in values for found in _lookups(value)]


def tables_of(models: Iterable[type[Model]], views: Iterable[type[Features]]) -> list[type[Table]]:
    """The reference tables that are looked up in models and views."""
    return [found.table for found in lookups_of(models, views)]


def _keys(model: type[Model]) -> Iterator[Expr[Any]]:
    """What the model's trigger looks its features up by, named or not."""
    for value in model.inputs.values():
        for leaf in value.leaves():
            if isinstance(leaf, FeatureRef):
                yield from (key for key in lookup_keys(model, leaf) if key is not None)


def _lookups(value: Expr[Any]) -> Iterator[AsOf]:
    for leaf in value.leaves():
        if isinstance(leaf, AsOf):
            yield from _lookups(leaf.by)
            yield leaf
        elif isinstance(leaf, Windowed):
            inside = (leaf.aggregate.input, leaf.where)
            yield from (found for part in inside if part is not None for found in _lookups(part))
