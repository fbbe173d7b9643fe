"""Loading an app: which classes belong to it, and what is said of a module that does not import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from samestream.schemas import app as apps
from samestream.schemas.errors import DeclarationError

EVENTS = """
from datetime import datetime
from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.trainers import gradient_boosting

class Visit(Event, topic="shop.visits"):
    user: Field[str] = key()
    pages: Field[float] = field()
    at: Field[datetime] = event_time()

class Order(Event, topic="shop.orders"):
    user: Field[str] = key()
    price: Field[float] = field()
    at: Field[datetime] = event_time()

class Spent(Features, by=Order.user):
    total_1d = Order.price.sum(over="1d")
"""
MODEL = """
class Buys(Model, on=Visit, trainer=gradient_boosting(every="1d", history="30d")):
    total = Spent.total_1d.fill(0)
    bought = label(Order.price > 0, by=Order.user, within="1d")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder on the path; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def fails(folder: Path, source: str, reference: str = "wrong.py") -> DeclarationError:
    (folder / "wrong.py").write_text(source)
    with pytest.raises(DeclarationError) as caught:
        apps.load(reference)
    return caught.value


def test_a_misspelt_field_is_told_with_its_line_and_the_names_there_are(folder: Path) -> None:
    error = fails(folder, EVENTS + "\nwrong = Order.prise\n")
    assert (error.where, error.what) == ("wrong.py line 19", "Order declares no such name")
    assert error.found == "AttributeError: type object 'Order' has no attribute 'prise'"
    assert (error.expected, error.hint) == ("user, price, at", "did you mean `price`?")
    assert isinstance(error.__cause__, AttributeError)


def test_so_is_a_misspelt_feature_also_of_a_view_with_other_keys(folder: Path) -> None:
    for looked_up in ("Spent.total_2d", "Spent.of(Visit.user).total_2d"):
        error = fails(folder, f"{EVENTS}\n\nclass Buys(Model):\n    total = {looked_up}\n")
        assert (error.where, error.expected) == ("wrong.py line 21", "total_1d")
        assert error.hint == "did you mean `total_1d`?"


@pytest.mark.parametrize(
    ("line", "found", "hint"),
    [
        ("x = Ordr.price", "NameError: name 'Ordr' is not defined", "did you mean `Order`?"),
        ("x = Order.price.maen(over='1h')", "AttributeError: 'Field' object", "did you mean `mean`?"),
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'", "install what is missing"),
        ("from samestream.schemas import Evnt", "ImportError: cannot import name 'Evnt'", "check the spelling"),
        ("x = = 1", "SyntaxError: invalid syntax", "correct the line."),
        ("x = 1 + 'a'", "TypeError: unsupported operand", "compare the line"),
        ("x = {}['a']", "KeyError: 'a'", "--debug"),
    ],
)
@pytest.mark.parametrize("reference", ["wrong.py", "wrong"])
def test_any_other_error_names_the_line(folder: Path, line: str, found: str, hint: str, reference: str) -> None:
    error = fails(folder, EVENTS + line + "\n", reference)
    assert error.where == "wrong.py line 18"
    assert str(error.found).startswith(found)
    assert hint in error.hint
    assert error.__cause__ is not None


def test_our_own_checks_keep_class_and_field_and_name_the_line(folder: Path) -> None:
    error = fails(folder, EVENTS.replace("price: Field[float]", "price: Field[list]"))
    assert error.where == "Order.price, wrong.py line 11"
    assert isinstance(error.__cause__, DeclarationError)


def test_an_error_in_a_file_beside_the_module_is_told_there(folder: Path) -> None:
    (folder / "beside.py").write_text(EVENTS + "Order.prise\n")
    assert fails(folder, "import beside\n").where == "beside.py line 18"


def test_a_package_that_fails_is_told_there(folder: Path) -> None:
    (folder / "fruit").mkdir()
    (folder / "fruit" / "__init__.py").write_text("1 / 0\n")
    (folder / "fruit" / "models.py").write_text("")
    with pytest.raises(DeclarationError, match=r"fruit/__init__.py line 1: .*\nFound: ZeroDivisionError"):
        apps.load("fruit.models")
    with pytest.raises(DeclarationError, match="fruits: no such module"):
        apps.load("fruits")


@pytest.mark.parametrize(
    "source",
    [
        "from models import Buys",
        "from models import Buys as B, Spent as S",
        "import models\nfrom samestream.monitors import Monitors, parity\n"
        "class Health(Monitors, of=models.Buys):\n    features = parity()\n",
    ],
)
def test_what_a_model_is_made_of_belongs_to_the_app(folder: Path, source: str) -> None:
    from samestream.streams.lowering import compile_app

    (folder / "models.py").write_text(EVENTS + MODEL)
    (folder / "wrong.py").write_text(source + "\n")
    found = apps.load("wrong.py")
    assert (set(found.events), set(found.features), set(found.models)) == ({"Visit", "Order"}, {"Spent"}, {"Buys"})
    assert set(compile_app(found).inputs) == {"Visit", "Order"}


def test_two_classes_of_one_name_are_refused(folder: Path) -> None:
    (folder / "models.py").write_text(EVENTS + MODEL)
    other = 'class Order(Event, topic="other.orders"):\n    id: Field[str] = key()\n    at: Field[datetime] = event_time()\n'
    header = "\n".join(EVENTS.splitlines()[:4])
    error = fails(folder, f"{header}\nfrom models import Buys\n{other}")
    assert (error.what, error.where) == ("two classes have one name", "Order")
    assert error.found == "one in wrong, another in models"


def test_two_monitors_of_one_model_are_refused(folder: Path) -> None:
    (folder / "models.py").write_text(EVENTS + MODEL)
    health = "class {}(Monitors, of=Buys):\n    features = parity()\n"
    header = "from models import Buys\nfrom samestream.monitors import Monitors, parity\n"
    error = fails(folder, header + health.format("Health") + health.format("Wealth"))
    assert (error.what, error.where, error.found) == ("one model is watched twice", "Buys", "Health and Wealth")


def test_a_key_that_may_be_null_is_told_so(folder: Path) -> None:
    error = fails(folder, EVENTS.replace("user: Field[str]", "user: Field[str | None]"))
    assert (error.where, error.found) == ("Visit.user, wrong.py line 6", "string | None")


def test_one_line_keeps_the_parts_of_a_message_apart() -> None:
    error = DeclarationError("it is wrong", where="A.b", found="x\ny", expected="z.", hint="mend it.")
    assert error.line == "A.b: it is wrong. Found: x y. Expected: z. Hint: mend it."
