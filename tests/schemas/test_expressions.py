"""Expressions as they are written: what they are, how they print, what is refused, and what type checkers say."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from uuid import UUID

import pytest

from samestream.schemas import Event, Expr, Field, event_time, field, key, when
from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Kind, Literal

ROOT = Path(__file__).parents[2]


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Order(Event, topic="orders"):
    id: Field[str] = key()
    n: Field[int] = field()
    x: Field[float | None] = field()
    price: Field[Decimal] = field(digits=12, scale=2)
    colour: Field[Colour] = field()
    ok: Field[bool] = field()
    tags: Field[list[str]] = field()
    props: Field[dict[str, float]] = field()
    born: Field[date] = field()
    at: Field[datetime] = event_time()


NAMES = {"Order": Order, "when": when, "datetime": datetime}
# what is written, and every line of what is said
WRONG = [
    (
        "Order.id * 2",
        [
            "(Order.id * 2): `*` does not fit its values",
            "Found: Order.id (string) and 2 (int)",
            "Expected: numbers",
            "Hint: cast(int) or cast(float) reads a number off text; two times subtract to seconds.",
        ],
    ),
    (
        "Order.at + 1",
        [
            "(Order.at + 1): `+` does not fit its values",
            "Found: Order.at (time) and 1 (int)",
            "Expected: numbers",
            "Hint: cast(int) or cast(float) reads a number off text; two times subtract to seconds.",
        ],
    ),
    (
        "Order.at - 5",
        [
            "(Order.at - 5): `-` does not fit its values",
            "Found: Order.at (time) and 5 (int)",
            "Expected: two times",
            "Hint: the difference of two times is a number of seconds: compare that.",
        ],
    ),
    (
        "Order.id > 5",
        [
            "(Order.id > 5): `>` does not fit its values",
            "Found: Order.id (string) and 5 (int)",
            "Expected: two values of one kind",
            "Hint: compare numbers with numbers and text with text.",
        ],
    ),
    (
        'Order.n == "a"',
        [
            "(Order.n == 'a'): `==` does not fit its values",
            "Found: Order.n (int) and 'a' (string)",
            "Expected: two values of one kind",
            "Hint: compare numbers with numbers and text with text.",
        ],
    ),
    (
        "Order.tags == Order.tags",
        [
            "(Order.tags == Order.tags): `==` does not fit its values",
            "Found: Order.tags (list of string) and Order.tags (list of string)",
            "Expected: single values",
            "Hint: take an element, or ask what is contained.",
        ],
    ),
    (
        'Order.colour == "blu"',
        [
            "(Order.colour == 'blu'): an enum is compared with what is none of its symbols",
            "Found: 'blu'",
            "Expected: 'red', 'green'",
            "Hint: the comparison would never hold.",
        ],
    ),
    (
        'Order.colour.is_in("red", "greem")',
        [
            "Order.colour.is_in('red', 'greem'): an enum is compared with what is none of its symbols",
            "Found: 'greem'",
            "Expected: 'red', 'green'",
            "Hint: did you mean 'green'?",
        ],
    ),
    (
        "Order.n.is_in()",
        [
            "Order.n.is_in(): `is_in` needs constants",
            "Expected: one or more",
            "Hint: is_in('JFK', 'LGA').",
        ],
    ),
    (
        'Order.n.is_in("a")',
        [
            "Order.n.is_in('a'): `is_in` does not fit its values",
            "Found: Order.n (int) and 'a' (string)",
            "Expected: two values of one kind",
            "Hint: compare numbers with numbers and text with text.",
        ],
    ),
    (
        "Order.n & Order.ok",
        [
            "(Order.n & Order.ok): `&` does not fit its values",
            "Found: Order.n (int) and Order.ok (bool)",
            "Expected: conditions (true or false)",
            "Hint: compare each side with something first, in parentheses.",
        ],
    ),
    (
        'Order.n.fill("a")',
        [
            "Order.n.fill('a'): `fill` does not fit its values",
            "Found: Order.n (int) and 'a' (string)",
            "Expected: a replacement of the same kind",
            "Hint: fill numbers with a number and text with text.",
        ],
    ),
    (
        "Order.n.clip()",
        [
            "Order.n.clip(): `clip` needs a bound",
            "Expected: low, high, or both",
            "Hint: clip(low=0).",
        ],
    ),
    (
        "Order.n.clip(5, 1)",
        [
            "Order.n.clip(low=5, high=1): the bounds of `clip` are in the wrong order",
            "Found: 5 above 1",
            "Expected: low, then high",
            "Hint: clip(1, 5).",
        ],
    ),
    (
        "Order.x.round(99)",
        [
            "Order.x.round(99): these are no digits to round to",
            "Found: 99",
            "Expected: a whole number from -22 to 22",
            "Hint: round(2) keeps cents, round(-3) thousands.",
        ],
    ),
    (
        "Order.x.cast(str)",
        [
            "Order.x.cast(str): `cast` does not fit its values",
            "Found: Order.x (float)",
            "Expected: int, bool, string",
            "Hint: engines write floats and times differently: round and cast to int first, or take calendar fields.",
        ],
    ),
    (
        "Order.at.cast(float)",
        [
            "Order.at.cast(float): `cast` does not fit its values",
            "Found: Order.at (time)",
            "Expected: int, float, bool, string",
            "Hint: subtract two times for seconds, or cast a time to int for microseconds.",
        ],
    ),
    (
        "Order.id.cast(bool)",
        [
            "Order.id.cast(bool): `cast` does not fit its values",
            "Found: Order.id (string)",
            "Expected: int, float, bool",
            "Hint: compare it: field == 'yes'.",
        ],
    ),
    (
        "Order.id.cast(bytes)",
        [
            "Order.id.cast(bytes): there is no cast to this",
            "Found: <class 'bytes'>",
            "Expected: int, float, str or bool",
            "Hint: times are declared as fields, Field[datetime]: none is made of text.",
        ],
    ),
    (
        "Order.n.lower()",
        [
            "Order.n.lower(): `lower` does not fit its values",
            "Found: Order.n (int)",
            "Expected: text",
            "Hint: cast(str) makes text of a whole number or a condition.",
        ],
    ),
    (
        'Order.n.log().contains("a")',
        [
            "Order.n.log().contains('a'): `contains` does not fit its values",
            "Found: Order.n.log() (float) and 'a' (string)",
            "Expected: text",
            "Hint: cast(str) makes text of a whole number or a condition.",
        ],
    ),
    (
        "Order.x.hash_bucket(10)",
        [
            "Order.x.hash_bucket(10): `hash_bucket` does not fit its values",
            "Found: Order.x (float)",
            "Expected: text, a whole number, a condition or a time",
            "Hint: engines write floats differently: round and cast to int first.",
        ],
    ),
    (
        "Order.id.hash_bucket(0)",
        [
            "Order.id.hash_bucket(0): this is no number of buckets",
            "Found: 0",
            "Expected: a whole number from 1 to 2147483648",
            "Hint: hash_bucket(100).",
        ],
    ),
    (
        "Order.id.year()",
        [
            "Order.id.year(): `year` does not fit its values",
            "Found: Order.id (string)",
            "Expected: a time",
            "Hint: take it of a Field[datetime] or Field[date].",
        ],
    ),
    (
        'Order.at.hour("America/New_Yrok")',
        [
            "Order.at.hour('America/New_Yrok'): no such time zone",
            "Found: 'America/New_Yrok'",
            "Expected: a name of the IANA database",
            "Hint: did you mean 'America/New_York'?",
        ],
    ),
    (
        'Order.at.hour("nowhere at all")',
        [
            "Order.at.hour('nowhere at all'): no such time zone",
            "Found: 'nowhere at all'",
            "Expected: a name of the IANA database",
            "Hint: name a city, such as 'America/New_York'.",
        ],
    ),
    (
        "Order.n.at(0)",
        [
            "Order.n.at(0): `at` does not fit its values",
            "Found: Order.n (int)",
            "Expected: a list",
            "Hint: a list is a Field[list[str]], or of numbers, conditions or times.",
        ],
    ),
    (
        'Order.tags.at("first")',
        [
            "Order.tags.at('first'): this is no place in a list",
            "Found: 'first'",
            "Expected: a whole number of 32 bits",
            "Hint: at(0) is the first, at(-1) the last element.",
        ],
    ),
    (
        "Order.tags.contains(5)",
        [
            "Order.tags.contains(5): `contains` does not fit its values",
            "Found: Order.tags (list of string) and 5 (int)",
            "Expected: a value of the kind of the list's elements",
            "Hint: look for text among text, for numbers among numbers.",
        ],
    ),
    (
        'Order.n.get("a")',
        [
            "Order.n.get('a'): `get` does not fit its values",
            "Found: Order.n (int)",
            "Expected: a map",
            "Hint: a map is a Field[dict[str, float]], or of other values.",
        ],
    ),
    (
        "Order.props.get(1)",
        [
            "Order.props.get(1): the keys of a map are text",
            "Found: 1",
            "Expected: a str",
            "Hint: get('name').",
        ],
    ),
    (
        "when(Order.n).then(1)",
        [
            "when(Order.n).then(1): `when` does not fit its values",
            "Found: Order.n (int) and 1 (int)",
            "Expected: conditions (true or false) in `when`",
            "Hint: compare the value with something.",
        ],
    ),
    (
        'when(Order.ok).then(1).otherwise("a")',
        [
            "when(Order.ok).then(1).otherwise('a'): `when` does not fit its values",
            "Found: Order.ok (bool) and 1 (int) and 'a' (string)",
            "Expected: values of one kind",
            "Hint: choose between numbers, or between texts; cast the others.",
        ],
    ),
    (
        "when(Order.ok).then(1).otherwise(2).otherwise(3)",
        [
            "when(Order.ok).then(1).otherwise(2): nothing comes after `otherwise`, so no `otherwise`",
            "Hint: put every when(...).then(...) before it.",
        ],
    ),
    (
        "when(Order.ok).then(1).otherwise(2).when(Order.ok)",
        [
            "when(Order.ok).then(1).otherwise(2): nothing comes after `otherwise`, so no `when`",
            "Hint: put every when(...).then(...) before it.",
        ],
    ),
    (
        "Order.n + None",
        [
            "None: this constant cannot stand in an expression",
            "Found: NoneType",
            "Expected: a bool, int, float, Decimal, str, UUID, date, datetime or a symbol of a StrEnum",
            "Hint: use is_null() and fill() for missing values.",
        ],
    ),
    (
        'Order.n + float("nan")',
        [
            "nan: this constant cannot stand in an expression",
            "Found: float",
            "Expected: a bool, int, float, Decimal, str, UUID, date, datetime or a symbol of a StrEnum",
            "Hint: use is_null() and fill() for missing values.",
        ],
    ),
    (
        "Order.n + 2**63",
        [
            "a constant: a whole number does not fit 64 bits",
            "Found: 9223372036854775808",
            "Expected: from -2**63 to 2**63 - 1",
            "Hint: write it as a float: it is no exact count.",
        ],
    ),
    (
        "Order.at > datetime(2024, 1, 1)",
        [
            "datetime.datetime(2024, 1, 1, 0, 0): a datetime needs a time zone",
            "Found: no time zone",
            "Expected: an instant",
            "Hint: add tzinfo=UTC, or the zone that it is meant in.",
        ],
    ),
    (
        'Order.id == "\\ud800"',
        [
            "'\\ud800': this text cannot be written as UTF-8",
            "Found: half of a surrogate pair at 0",
            "Expected: whole characters",
            "Hint: write the whole character.",
        ],
    ),
    (
        "bool(Order.ok)",
        [
            "Order.ok: an expression has no truth value while it is being declared",
            "Hint: join conditions with & and |, negate with ~, and put each side in parentheses.",
        ],
    ),
    (
        'Order.n.sum(over="1h") if Order.ok else 1',
        [
            "Order.ok: an expression has no truth value while it is being declared",
            "Hint: join conditions with & and |, negate with ~, and put each side in parentheses.",
        ],
    ),
]


@pytest.mark.parametrize(("written", "said"), WRONG, ids=[written for written, _ in WRONG])
def test_a_wrong_expression_fails_with_the_whole_message(written: str, said: list[str]) -> None:
    with pytest.raises(DeclarationError) as caught:
        eval(written, NAMES)
    assert str(caught.value).split("\n") == said


@pytest.mark.parametrize(
    "written",
    [
        "(Order.n + 1)",
        "(1 - Order.n)",
        "((Order.n // 2) % 3)",
        "(-Order.x)",
        "Order.x.abs()",
        "((Order.n > 1) & (~Order.ok))",
        "(Order.id != 'a')",
        "Order.x.fill(0).is_null()",
        "Order.colour.is_in('red', 'green')",
        "when(Order.ok).then(1).when((Order.n > 2)).then(2.5).otherwise(Order.x)",
        "when(Order.ok).then('a')",
        "Order.id.cast(int)",
        "Order.x.round(2).floor().clip(low=0)",
        "Order.x.clip(low=-1.5, high=3)",
        "(Order.id + 'x').lower().concat('y', Order.colour)",
        "Order.id.contains('a')",
        "Order.id.hash_bucket(16)",
        "Order.at.hour('Europe/Berlin')",
        "Order.born.year()",
        "(Order.at - Order.born)",
        "Order.tags.at(-1).length()",
        "Order.tags.contains('a')",
        "Order.props.get('a')",
    ],
)
def test_an_expression_prints_as_it_is_written(written: str) -> None:
    assert repr(eval(written, NAMES)) == written


@pytest.mark.parametrize(
    ("value", "kind", "held"),
    [
        (True, Kind.BOOL, True),
        (3, Kind.INT, 3),
        (2.5, Kind.FLOAT, 2.5),
        (Decimal("2.10"), Kind.FLOAT, 2.1),
        ("é", Kind.STRING, "é"),
        (Colour.RED, Kind.STRING, "red"),
        (UUID(int=255), Kind.STRING, "00000000-0000-0000-0000-0000000000ff"),
        (date(1970, 1, 2), Kind.TIME, 86_400_000_000),
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), Kind.TIME, 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), Kind.TIME, -1),
    ],
)
def test_a_constant_is_held_as_columns_hold_it(value: object, kind: Kind, held: object) -> None:
    literal = Literal(value)
    assert (literal.kind, literal.value, type(literal.value)) == (kind, held, type(held))


def test_decimals_dates_uuids_and_enums_are_numbers_times_and_texts() -> None:
    assert (Order.price * 2).kind is Kind.FLOAT
    assert (Order.at - date(2024, 1, 1)).kind is Kind.FLOAT
    assert (Order.colour + Colour.RED).kind is Kind.STRING
    assert Order.tags.at(0).kind is Kind.STRING
    chosen: Expr[float] = when(Order.ok).then(1).otherwise(2.5)
    assert chosen.kind is Kind.FLOAT


def mypy(name: str) -> list[str]:
    """What mypy says of a file as a user would write it, line by line."""
    command = [sys.executable, "-m", "mypy", "--strict", "--namespace-packages", "--explicit-package-bases"]
    command += [
        f"--cache-dir={ROOT / '.mypy_cache'}",
        "--no-error-summary",
        str(ROOT / "tests" / "support" / "typed" / name),
    ]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "build" / "typing")}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False).stdout.splitlines()


def test_right_expressions_have_their_exact_types() -> None:
    assert mypy("right.py") == []


def test_every_wrong_expression_is_a_type_error() -> None:
    text = (ROOT / "tests" / "support" / "typed" / "wrong.py").read_text().splitlines()
    wrong = {number for number, line in enumerate(text, 1) if number > text.index("# wrong:") + 1 and line}
    found = {int(line.split(":")[1]) for line in mypy("wrong.py") if ": error:" in line}
    assert found == wrong
