"""Models: what is predicted, when, from what, and how one learns later whether it was right.

::

    class LateArrival(Model, on=Boarding, trainer=gradient_boosting(every="1d", history="30d")):
        carrier_delay = CarrierNow.mean_delay_3h.fill(0)
        late = label(Arrival.arr_delay > 15, by=Arrival.flight_id, within="1d")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from samestream.schemas import durations
from samestream.schemas.about import About, about_class
from samestream.schemas.aggregable import Several
from samestream.schemas.class_body import public, stray
from samestream.schemas.durations import Duration
from samestream.schemas.errors import DeclarationError
from samestream.schemas.events import Event, Field
from samestream.schemas.expressions import Expr, Literal
from samestream.schemas.features import FeatureRef, Key
from samestream.schemas.on_demand import check_readable, resolved
from samestream.schemas.outputs import OUTPUTS, Output
from samestream.schemas.tables import AsOf

# Names of the columns that stand beside the features: of a vector, of the file of a replay or a backfill (`model`,
# `known_time`), and of rows that a user asks for (`row`). A feature cannot take one.
RESERVED = frozenset(
    {
        "entity",
        "event_time",
        "fingerprint",
        "known_time",
        "model",
        "row",
        "trigger_offset",
        "trigger_partition",
        "trigger_topic",
    }
)


@dataclass(frozen=True)
class Trainer:
    """How a model is trained: the name of a trainer in `samestream.trainers`, how often and from how much history."""

    name: str
    every_us: int
    history_us: int
    params: dict[str, Any] = field(default_factory=dict)


class Label:
    """What then happened: an expression of a later event that carries the trigger's key, within a horizon."""

    def __init__(self, value: Expr[Any], by: Field[Any], within_us: int) -> None:
        self.value, self.by, self.within_us, self.event = value, by, within_us, by.event

    @property
    def output(self) -> Output:
        """What a model of it predicts: of a condition a probability, of a number a number, of text a class."""
        return OUTPUTS[self.value.kind]

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        return ["Label", self.value.meaning(), self.by.meaning(), self.within_us]


def label(value: Expr[Any], *, by: Field[Any], within: Duration) -> Label:
    """The label of a model: ``value`` of the first event whose ``by`` equals the trigger's key, at most ``within`` after it.

    The first value that is not null wins; a later, different one becomes a correction.
    """
    if not isinstance(by, Field):
        raise DeclarationError(
            "a label is joined by a field",
            where="label",
            found=f"by={by!r}",
            expected="the field of the later event that holds the trigger's key",
            hint="by=Arrival.flight_id.",
        )
    here = f"label(by={by!r})"
    if not by.event.timed:
        raise DeclarationError(
            "a label is what an event says",
            where=here,
            found=f"{by.event.__name__}, a reference table",
            hint="a table's records have no instant of their own: declare the event that changes it.",
        )
    leaves = [leaf for leaf in value.leaves() if not isinstance(leaf, Literal)] if isinstance(value, Expr) else []
    if not leaves or not all(isinstance(leaf, Field) and leaf.event is by.event for leaf in leaves):
        raise DeclarationError(
            "a label is computed from the event it is joined by",
            where=here,
            found=repr(value),
            expected=f"an expression of fields of {by.event.__name__}",
            hint="take value and by= of the later event: label(Arrival.delay > 15, by=Arrival.flight_id, within='1d').",
        )
    if value.kind not in OUTPUTS:
        raise DeclarationError(
            "a label is a condition, a number or text",
            where=here,
            found=value.kind.value,
            hint="compare it, or take from it what is to be predicted, so that one of these comes out.",
        )
    within_us = durations.parse(within, here)
    if within_us == 0:
        raise DeclarationError(
            "a label needs a horizon",
            where=here,
            found=f"within={within!r}",
            expected="how long after the trigger it may come",
            hint='within="1d".',
        )
    return Label(value, by, within_us)


class Model:
    """A model scored once per trigger event; its attributes are its inputs, in order, and one label.

    An input is an expression. ``delay = CarrierNow.mean_delay`` of a feature over several windows stands for ``delay_1h``,
    ``delay_3h``, ...; ``carrier = CarrierNow`` for ``carrier_mean_delay_1h`` and every other feature of the view that a
    model can take (numbers, conditions and text, so no lists); likewise a table, an on-demand view, or any of them looked
    up by ``.of(...)``.

    ``owner=`` and ``tags=`` of the class statement reach the schemas of its vectors and predictions, as does the docstring.
    """

    about: ClassVar[About]
    on: ClassVar[type[Event]]
    trainer: ClassVar[Trainer]
    inputs: ClassVar[dict[str, Expr[Any]]]
    outcome: ClassVar[Label]
    outcome_name: ClassVar[str]

    def __init_subclass__(
        cls,
        *,
        on: type[Event] | None = None,
        trainer: Trainer | None = None,
        owner: str = "",
        tags: str | Iterable[str] = (),
        **options: Any,
    ) -> None:
        here = cls.__name__
        declared = public(cls)
        cls.about = about_class(cls, owner, tags)
        is_event = isinstance(on, type) and issubclass(on, Event) and on.timed
        if options or on is None or not is_event or not isinstance(trainer, Trainer):
            raise DeclarationError(
                "a model needs its trigger and its trainer",
                where=here,
                found=", ".join(options) or f"on={_said(on)}, trainer={_said(trainer)}",
                expected="on=an Event class, no table; trainer=gradient_boosting(...) or linear(...)",
                hint=f'class {here}(Model, on=Boarding, trainer=gradient_boosting(every="1d", history="30d")).',
            )
        cls.on, cls.trainer, cls.inputs = on, trainer, {}
        for declared_as, part in declared.items():
            inputs = list(_inputs_of(declared_as, part))
            if not inputs and isinstance(part, type) and any(isinstance(value, Expr) for value in vars(part).values()):
                raise DeclarationError(
                    "no model can take any of this",
                    where=f"{here}.{declared_as}",
                    found=f"{part.__name__}, of which nothing is a number, a condition or text",
                    expected="a view or a table with at least one of these",
                    hint="take from a list or a time what matters: its length(), at(0) or hour().",
                )
            if not inputs and not isinstance(part, Label):
                raise stray(cls, declared_as, part, "an input (an expression, a view, a table) or the label")
            for name, value in inputs:
                if name in cls.inputs:
                    raise DeclarationError(
                        "two inputs have one name",
                        where=f"{here}.{name}",
                        found=f"{cls.inputs[name]!r} and {value!r}",
                        expected="a name for each: of several windows ..._1h, of a view ..._<feature>",
                        hint="rename one of the two.",
                    )
                cls.inputs[name] = resolved(value, on, f"{here}.{name}")
        labels = {name: value for name, value in declared.items() if isinstance(value, Label)}
        if len(labels) != 1:
            raise DeclarationError(
                "a model has exactly one label",
                where=here,
                found=", ".join(labels) or "none",
                hint='late = label(Arrival.arr_delay > 15, by=Arrival.flight_id, within="1d").',
            )
        if not cls.inputs:
            raise DeclarationError(
                "a model needs inputs",
                where=here,
                found="none",
                expected=f"at least one feature, or field of {on.__name__}",
                hint=f"add one as an attribute: delay = CarrierNow.mean_delay_3h, or of the trigger, {on.__name__}.<field>.",
            )
        ((cls.outcome_name, cls.outcome),) = labels.items()
        for name, value in cls.inputs.items():
            _check_input(cls, name, value)
        if cls.outcome.by.kind is not on.key_field.kind:
            raise DeclarationError(
                "the label is joined by another kind of key than the trigger's",
                where=f"{here}.{cls.outcome_name}",
                found=f"{cls.outcome.by!r} ({cls.outcome.by.kind.value})",
                expected=f"{on.key_field!r} ({on.key_field.kind.value})",
                hint="join by the field that holds the trigger's key.",
            )


def _said(option: Any) -> str:
    """An option of the class statement as it was written, about."""
    if isinstance(option, Trainer):
        return f"{option.name}(...)"
    return str(getattr(option, "__name__", repr(option)))


def _inputs_of(name: str, declared: Any) -> Iterator[tuple[str, Expr[Any]]]:
    """The inputs that an attribute stands for: itself, a feature over several windows, or all of a view, a table or a request."""
    if isinstance(declared, Expr):
        yield name, declared
    elif isinstance(declared, Several):
        yield from ((f"{name}_{over}", value) for over, value in declared.items())
    elif isinstance(declared, type):
        for part, value in vars(declared).items():
            if isinstance(value, Expr) and value.kind in OUTPUTS and not (isinstance(value, Field) and value.role):
                yield f"{name}_{part}", value


def lookup_keys(model: type[Model], feature: FeatureRef) -> tuple[Key | None, ...]:
    """What of the trigger a feature is looked up by, None where it has no such field: those named, else those of the same name."""
    if feature.by is not None:
        return feature.by
    return tuple(_same_key(model.on, part) for part in feature.view.by)


def _same_key(on: type[Event], part: Key) -> Key | None:
    if isinstance(part, Field):
        return on.fields.get(part.name)
    by = _same_key(on, part.by)
    return AsOf(part.field, by) if by is not None and by.kind is part.by.kind else None


def _check_input(model: type[Model], name: str, value: Expr[Any]) -> None:
    where = f"{model.__name__}.{name}"
    if name in RESERVED:
        raise DeclarationError(
            "this name is kept for the vector itself",
            where=where,
            found=name,
            expected=f"none of {', '.join(sorted(RESERVED))}",
            hint="choose another name.",
        )
    if value.kind not in OUTPUTS:
        raise DeclarationError(
            "a model's input must be a number, a condition or text",
            where=where,
            found=value.kind.value,
            hint="compare it, or take from it what matters, so that one of these comes out.",
        )
    check_readable(value, model.on, where)
    for leaf in value.leaves():
        if isinstance(leaf, FeatureRef):
            _check_lookup(model, where, leaf)


def _check_lookup(model: type[Model], where: str, feature: FeatureRef) -> None:
    for part, found in zip(feature.view.by, lookup_keys(model, feature), strict=True):
        if found is None or found.event is not model.on or found.kind is not part.kind:
            raise DeclarationError(
                "a feature cannot be looked up from the trigger",
                where=where,
                found=f"{feature!r} is kept by {part!r} ({part.kind.value})",
                expected=f"a field `{part.name}` of {model.on.__name__} of the same kind",
                hint=f"name it: {feature.view.__name__}.of({model.on.__name__}.<field>).{feature.name}.",
            )
