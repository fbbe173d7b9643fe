"""Any state of plain values as a few typed arrays, and back: what has no arrays of its own in a snapshot.

Values are written one after the other, depth first: a tag for each, and what it is in the array of its kind. Numbers come back to
the last bit. Objects are written as their class and their attributes; only classes of samestream are, and what is read makes no
other. Nothing that is read is ever run, unlike a pickle. What is one object stays one, however often it is referred to.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samestream.schemas.errors import RecoveryError, SamestreamError

Arrays = dict[str, NDArray[Any]]

_OURS = "samestream."
_NONE, _TRUE, _FALSE, _INT, _LONG, _FLOAT, _TEXT, _BYTES = b"NTFiIdsb"
_TUPLE, _LIST, _DICT, _SET, _FROZENSET, _ARRAY, _OBJECTS, _SCALAR = b"tlmSZaog"
_NAMED, _ENUM, _OBJECT, _AGAIN = b"neO@"
_COLLECTIONS: dict[type, int] = {tuple: _TUPLE, list: _LIST, set: _SET, frozenset: _FROZENSET}


class StateNotKeptError(SamestreamError):
    """A state holds something that cannot be written: it is computed again from the log instead."""


def pack(value: Any) -> Arrays:
    """Return arrays of numbers and bytes from which `unpack` makes the same value.

    Raises StateNotKeptError for a value of a class that is neither Python's plain ones, numpy's arrays, nor of samestream.

    >>> unpack(pack({"a": (1, -0.0, None), 2: [b"x", frozenset({"y"})]}))
    {'a': (1, -0.0, None), 2: [b'x', frozenset({'y'})]}
    """
    writer = _Writer()
    writer.write(value)
    return writer.arrays()


def unpack(arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Return the value that these arrays were made of. Raises RecoveryError where they are not of `pack`."""
    try:
        return _Reader(arrays).read()
    except (
        LookupError,
        ValueError,
        TypeError,
        StopIteration,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise RecoveryError(
            "a state cannot be read", found=f"{type(error).__name__}: {error}", hint="the log makes it again."
        ) from error


class _Writer:
    def __init__(self) -> None:
        self._tags = bytearray()
        self._ints: list[int] = []
        self._floats: list[float] = []
        self._sizes: list[int] = []
        self._bytes = bytearray()
        self._others: list[NDArray[Any]] = []
        self._met: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no address is met twice

    def arrays(self) -> Arrays:
        """What was written."""
        found: Arrays = {
            "tags": np.frombuffer(bytes(self._tags), np.uint8),
            "ints": np.array(self._ints, np.int64),
            "floats": np.array(self._floats, np.float64),
            "sizes": np.array(self._sizes, np.int64),
            "bytes": np.frombuffer(bytes(self._bytes), np.uint8),
        }
        return found | {f"array.{number}": array for number, array in enumerate(self._others)}

    def write(self, value: Any) -> None:
        """Write a value and all that it holds."""
        kind, tags = type(value), self._tags
        if value is None:
            tags.append(_NONE)
        elif kind is int:
            if -(2**63) <= value < 2**63:
                tags.append(_INT)
                self._ints.append(value)
            else:
                self._text(_LONG, str(value).encode())
        elif kind is float:
            tags.append(_FLOAT)
            self._floats.append(value)
        elif kind is str:
            self._text(_TEXT, value.encode("utf-8", "surrogatepass"))
        elif kind is bool:
            tags.append(_TRUE if value else _FALSE)
        elif kind is tuple or kind is frozenset:
            self._several(_COLLECTIONS[kind], value, len(value))
        elif kind is bytes:
            self._text(_BYTES, value)
        else:
            self._write_shared(value, kind)

    def _write_shared(self, value: Any, kind: type) -> None:
        if id(value) in self._met:
            self._tags.append(_AGAIN)
            self._ints.append(self._met[id(value)])
            return
        self._met[id(value)] = len(self._met)
        self._alive.append(value)
        if kind in (list, set):
            self._several(_COLLECTIONS[kind], value, len(value))
        elif kind is dict:
            self._several(_DICT, (part for pair in value.items() for part in pair), len(value))
        elif kind is np.ndarray:
            self._array(value)
        elif isinstance(value, np.generic) and kind.__module__ == "numpy":
            self._tags.append(_SCALAR)
            self._others.append(np.asarray(value))
        elif kind.__module__.startswith(_OURS):
            self._object(value, kind)
        else:
            raise StateNotKeptError(
                "a state holds what a snapshot cannot keep",
                found=f"{kind.__module__}.{kind.__qualname__}",
                expected="plain values, arrays of numbers, and objects of samestream",
                hint="nothing is lost: the log makes this state again.",
            )

    def _array(self, value: NDArray[Any]) -> None:
        if value.dtype != object:
            self._tags.append(_ARRAY)
            self._others.append(value)
            return
        self._tags.append(_OBJECTS)
        self.write(value.shape)
        for part in value.ravel().tolist():
            self.write(part)

    def _object(self, value: Any, kind: type) -> None:
        if isinstance(value, Enum):
            self._tags.append(_ENUM)
            self._class(kind)
            self.write(value.name)
        elif isinstance(value, tuple):
            self._tags.append(_NAMED)
            self._class(kind)
            self.write(tuple(value))
        elif isinstance(value, type) or callable(value):
            raise StateNotKeptError("a state holds code, which a snapshot cannot keep", found=repr(value))
        else:
            self._tags.append(_OBJECT)
            self._class(kind)
            self.write(tuple(part for pair in _attributes(value) for part in pair))

    def _class(self, kind: type) -> None:
        self.write(f"{kind.__module__}:{kind.__qualname__}")

    def _several(self, tag: int, parts: Any, count: int) -> None:
        self._tags.append(tag)
        self._sizes.append(count)
        for part in parts:
            self.write(part)

    def _text(self, tag: int, text: bytes) -> None:
        self._tags.append(tag)
        self._sizes.append(len(text))
        self._bytes += text


class _Reader:
    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = arrays
        self._tags = iter(arrays["tags"].tolist())
        self._ints = iter(arrays["ints"].tolist())
        self._floats = iter(arrays["floats"].tolist())
        self._sizes = iter(arrays["sizes"].tolist())
        self._bytes, self._at = arrays["bytes"].tobytes(), 0
        self._others = 0
        self._met: list[Any] = []

    def read(self) -> Any:
        """The next value, with all that it holds."""
        tag = next(self._tags)
        if tag == _INT:
            return next(self._ints)
        if tag == _FLOAT:
            return next(self._floats)
        if tag == _TUPLE:
            return tuple(self._several(next(self._sizes)))
        if tag == _TEXT:
            return self._text().decode("utf-8", "surrogatepass")
        if tag == _NONE:
            return None
        if tag in (_TRUE, _FALSE):
            return tag == _TRUE
        if tag == _FROZENSET:
            return frozenset(self._several(next(self._sizes)))
        if tag == _BYTES:
            return self._text()
        if tag == _LONG:
            return int(self._text())
        if tag == _AGAIN:
            return self._met[next(self._ints)]
        return self._shared(tag)

    def _shared(self, tag: int) -> Any:
        place = len(self._met)
        self._met.append(None)
        if tag in (_LIST, _SET, _DICT):
            made: Any = {_LIST: list, _SET: set, _DICT: dict}[tag]()
            self._met[place] = made  # first: it may hold itself
            size = next(self._sizes)
            if tag == _LIST:
                made.extend(self._several(size))
            elif tag == _SET:
                made.update(self._several(size))
            else:
                for _ in range(size):
                    key = self.read()
                    made[key] = self.read()
            return made
        if tag == _OBJECT:
            kind = self._class()
            made = self._met[place] = object.__new__(kind)
            names = iter(self.read())
            for name in names:
                object.__setattr__(made, name, next(names))
            return made
        self._met[place] = made = self._value(tag)
        return made

    def _value(self, tag: int) -> Any:
        if tag in (_ARRAY, _SCALAR):
            array = np.array(self._arrays[f"array.{self._others}"])
            self._others += 1
            return array[()] if tag == _SCALAR else array
        if tag == _OBJECTS:
            shape = self.read()
            array = np.empty(int(np.prod(shape)), object)
            for place in range(len(array)):
                array[place] = self.read()
            return array.reshape(shape)
        if tag == _NAMED:
            kind = self._class()
            return tuple.__new__(kind, self.read())
        if tag == _ENUM:
            kind = self._class()
            return kind[self.read()]
        raise ValueError(f"no such tag: {tag}")

    def _several(self, size: int) -> list[Any]:
        return [self.read() for _ in range(size)]

    def _text(self) -> bytes:
        begin, self._at = self._at, self._at + next(self._sizes)
        if self._at > len(self._bytes):
            raise ValueError("texts end early")
        return self._bytes[begin : self._at]

    def _class(self) -> Any:
        """A class of samestream that is imported already: what is read never imports anything."""
        module, _, name = self.read().partition(":")
        if not module.startswith(_OURS) or "<" in name:
            raise ValueError(f"not a class of samestream: {module}:{name}")
        found: Any = sys.modules[module]
        for part in name.split("."):
            found = getattr(found, part)
        if not isinstance(found, type) or found.__module__ != module:
            raise ValueError(f"not a class of samestream: {module}:{name}")
        return found


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)
    yield from getattr(value, "__dict__", {}).items()


def join(parts: Mapping[str, Mapping[str, NDArray[Any]]]) -> Arrays:
    """Several groups of arrays as one, each array named by its group and its name."""
    return {f"{group}/{name}": array for group, arrays in parts.items() for name, array in arrays.items()}


def split(arrays: Mapping[str, NDArray[Any]], group: str) -> Arrays:
    """The arrays of a group that `join` put together."""
    start = f"{group}/"
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
