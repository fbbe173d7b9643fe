"""How hot loops are compiled: by numba, to the same bits everywhere, cached on disk; and words of 64 bits, which they work on."""

# What is compiled reads single words; NumPy's stubs cannot tell an element of an array from an array.
# pyright: reportArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic
from numpy.typing import NDArray

Words = NDArray[np.int64]
F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile with strict IEEE arithmetic (no reordering, no contraction), on one thread, cached on disk."""
    return _noticing(njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function))  # type: ignore[no-any-return]


def lean(function: F) -> F:
    """Compile as :func:`compiled` does, but without counting references to arrays: such a function can make none.

    Counting would take most of the time here: an atomic addition for every array that is handed on.
    """
    return _noticing(njit(cache=True, nogil=True, fastmath=False, error_model="numpy", _nrt=False)(function))  # type: ignore[no-any-return]


def _noticing(made: Any) -> Any:
    """Have the cache of a compiled function notice changes of what it takes from other files; numba's own compares its file only.

    That is of the compiled functions that it calls, which are compiled into it, and of theirs; and the numbers that it names.
    """
    if not isinstance(made, Dispatcher):
        return made  # NUMBA_DISABLE_JIT
    taken: list[tuple[str, object]] = []
    for name in sorted(set(made.py_func.__code__.co_names)):
        found = made.py_func.__globals__.get(name)
        if isinstance(found, (int, float, np.generic)):
            taken.append((name, repr(found)))
        elif isinstance(found, Dispatcher):
            taken.append((name, _index_of(found)._source_stamp))
    index = _index_of(made)
    index._source_stamp = (index._source_stamp, tuple(taken))
    return made


def _index_of(made: Any) -> Any:
    return made._cache._cache_file


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(context: Any, array: Any, index: Any) -> Any:
    """Ask the processor for the word at an index of an array, and do not wait for it. The index is not checked."""

    def emit(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, given[0]).data
        place = builder.bitcast(builder.gep(data, [given[1]]), ir.IntType(8).as_pointer())
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, flag, flag, flag])
        ask = builder.module.declare_intrinsic("llvm.prefetch.p0", (), kind)
        builder.call(ask, [place, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, index), emit


prefetch: Callable[[Words, int], None] = cast(Any, _prefetch)


@compiled
def real(word: int) -> float:
    """Return the float64 whose bits are ``word``."""
    return np.int64(word).view(np.float64)


@compiled
def bits(x: float) -> int:
    """Return the bits of ``x``."""
    return np.float64(x).view(np.int64)  # type: ignore[return-value]
