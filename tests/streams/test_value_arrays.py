"""Values as typed arrays: the same values come back, to the last bit; nothing else does, whatever is read."""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from samestream.monitors.incidents import Finding
from samestream.schemas.errors import RecoveryError
from samestream.schemas.expressions import Kind
from samestream.streams.engine.algebra_table import Span
from samestream.streams.engine.value_arrays import StateNotKeptError, join, pack, split, unpack
from samestream.streams.transport import Partition

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.sampled_from([Kind.INT, Kind.TIME])
)
COMPARABLE = SCALARS.filter(lambda value: value == value)  # a NaN is in no set twice the same
HASHABLE = st.recursive(
    COMPARABLE, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=8
)
VALUES = st.recursive(
    HASHABLE | SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal in kind and to the bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, frozenset | set):
        return one == other and sorted(str(type(part)) for part in one) == sorted(str(type(part)) for part in other)
    return bool(one == other)


@given(value=VALUES)
@settings(max_examples=150, deadline=None, phases=[Phase.generate])
def test_what_is_packed_comes_back(value: Any) -> None:
    arrays = pack(value)
    assert all(array.dtype != object for array in arrays.values())
    assert same(unpack(arrays), value)


@pytest.mark.parametrize(
    "value",
    [
        Span(1, 2, 3),
        Partition("t", 1),
        np.float64(0.1),
        np.int32(-5),
        Finding("unit", 0.5, {"a": [1, 2.5]}),
        {1, 2},
        2**200,
        "\ud800",
    ],
)
def test_objects_of_ours_and_of_numpy(value: Any) -> None:
    found = unpack(pack([value, value]))
    assert found == [value, value]
    assert type(found[0]) is type(value)


def test_arrays_of_numbers_and_of_texts() -> None:
    value = [np.arange(6, dtype=np.int32).reshape(2, 3), np.array(["a", None, "é"], object), np.zeros(0)]
    numbers, texts, nothing = unpack(pack(value))
    assert numbers.dtype == np.int32
    assert np.array_equal(numbers, value[0])
    assert texts.tolist() == ["a", None, "é"]
    assert nothing.shape == (0,)


def test_what_is_one_object_stays_one() -> None:
    shared: list[Any] = [1]
    shared.append({"itself": shared})
    first, second = unpack(pack((shared, shared)))
    assert first is second
    assert first[1]["itself"] is first


@pytest.mark.parametrize("value", [object(), print, int, pytest, struct.Struct("d"), lambda: 1, Span])
def test_what_is_no_state_is_refused(value: Any) -> None:
    with pytest.raises(StateNotKeptError):
        pack({"a": [value]})


@pytest.mark.parametrize(
    "name", ["os:system", "builtins:eval", "samestream.schemas.errors:Any", "samestream.nowhere:X"]
)
def test_nothing_is_made_but_objects_of_samestream(name: str) -> None:
    arrays = pack(Span(1, 2, 3))
    text = arrays["bytes"].tobytes().decode()
    arrays["bytes"] = np.frombuffer(name.encode(), np.uint8)
    arrays["sizes"] = np.where(arrays["sizes"] == len(text), len(name), arrays["sizes"])
    with pytest.raises(RecoveryError):
        unpack(arrays)


@given(value=VALUES, data=st.data())
@settings(max_examples=150, deadline=None, phases=[Phase.generate])
def test_damaged_arrays_never_crash(value: Any, data: st.DataObject) -> None:
    arrays = {name: array.copy() for name, array in pack([value]).items()}
    name = data.draw(st.sampled_from(sorted(arrays)))
    if not len(arrays[name]):
        return
    if data.draw(st.booleans()):
        arrays[name] = arrays[name][: data.draw(st.integers(0, len(arrays[name]) - 1))]
    elif name == "tags":
        arrays[name][data.draw(st.integers(0, len(arrays[name]) - 1))] = data.draw(st.integers(0, 255))
    elif name in ("ints", "sizes"):
        arrays[name][data.draw(st.integers(0, len(arrays[name]) - 1))] = data.draw(st.integers(-3, 50))
    with suppress(RecoveryError):
        unpack(arrays)


def test_groups_of_arrays() -> None:
    one, two = pack(1), pack("a")
    both = join({"x": one, "x.y": two})
    assert unpack(split(both, "x")) == 1
    assert unpack(split(both, "x.y")) == "a"
    assert split(both, "z") == {}
