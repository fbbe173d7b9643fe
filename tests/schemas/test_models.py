"""What a label's kind makes of a model, and which labels and inputs are refused, with the whole message."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import pytest

from samestream.schemas import Event, Field, Model, event_time, field, key, label, when
from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Expr
from samestream.trainers import linear

TRAINER = linear(every="1d", history="30d")


class Fate(StrEnum):
    HOME = "home"
    SHOP = "shop"


class Parcel(Event, topic="parcels", lateness="1m"):
    parcel: Field[str] = key()
    fate: Field[Fate] = field()
    weight: Field[float] = field()
    tags: Field[list[str]] = field()
    at: Field[datetime] = event_time()


class Arrival(Event, topic="arrivals", lateness="1m"):
    parcel: Field[str] = key()
    place: Field[str | None] = field()
    fate: Field[Fate] = field()
    hours: Field[float] = field()
    steps: Field[int] = field()
    tags: Field[list[str]] = field()
    at: Field[datetime] = event_time()


@pytest.mark.parametrize(
    ("value", "output"),
    [
        (Arrival.hours > 5, "probability"),
        (Arrival.hours, "number"),
        (Arrival.steps, "number"),
        (Arrival.hours / Arrival.steps, "number"),
        (Arrival.place, "class"),
        (Arrival.place.fill("nowhere"), "class"),
        (Arrival.fate, "class"),
        (when(Arrival.hours > 5).then("slow").otherwise("quick"), "class"),
        (when(Arrival.hours > 5).then(1).otherwise(Arrival.hours), "number"),
        (Arrival.fate == Fate.HOME, "probability"),
    ],
)
def test_the_kind_of_the_label_says_what_is_predicted(value: Expr[Any], output: str) -> None:
    assert label(value, by=Arrival.parcel, within="1d").output == output


def test_texts_and_enums_may_be_inputs() -> None:
    class Where(Model, on=Parcel, trainer=TRAINER):
        parcel = Parcel.parcel
        fate = Parcel.fate
        place = label(Arrival.place, by=Arrival.parcel, within="1d")

    assert [value.kind.value for value in Where.inputs.values()] == ["string", "string"]


@pytest.mark.parametrize(("value", "kind"), [(Arrival.at, "time"), (Arrival.tags, "list")])
def test_a_label_of_another_kind_is_refused(value: Expr[Any], kind: str) -> None:
    with pytest.raises(DeclarationError) as told:
        label(value, by=Arrival.parcel, within="1d")
    assert str(told.value) == (
        "label(by=Arrival.parcel): a label is a condition, a number or text\n"
        f"Found: {kind}\n"
        "Hint: compare it, or take from it what is to be predicted, so that one of these comes out."
    )


@pytest.mark.parametrize(("name", "kind"), [("at", "time"), ("tags", "list")])
def test_an_input_of_another_kind_is_refused(name: str, kind: str) -> None:
    late = label(Arrival.hours > 5, by=Arrival.parcel, within="1d")
    with pytest.raises(DeclarationError) as told:
        type("Late", (Model,), {name: getattr(Parcel, name), "late": late}, on=Parcel, trainer=TRAINER)
    assert str(told.value) == (
        f"Late.{name}: a model's input must be a number, a condition or text\n"
        f"Found: {kind}\n"
        "Hint: compare it, or take from it what matters, so that one of these comes out."
    )
