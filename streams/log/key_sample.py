"""A sample of keys: a key is in it, with all its rows in every topic, or out of it, everywhere and for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from samestream.schemas.errors import SettingsError
from samestream.streams.columns import BoolArray

WHOLE = 1.0
_SPACE = 2**64


def in_sample(keys: Iterable[bytes | None], share: float) -> BoolArray:
    """Whether each key is in a sample of a share of all keys: those whose SHA-256 begins with a low enough number.

    The keys of a smaller sample are in every larger one. A row without a key is taken as one whose key is empty.
    """
    if share >= WHOLE:
        return np.ones(len(list(keys)), np.bool_)
    known, found = dict[bytes | None, bool](), []
    for key in keys:
        if key not in known:
            known[key] = is_in_sample(key, share)
        found.append(known[key])
    return np.array(found, np.bool_)


def is_in_sample(key: bytes | None, share: float) -> bool:
    """Whether one key is in that sample.

    >>> [is_in_sample(b"EWR", share) for share in (0.1, 0.9, 1.0)]
    [False, True, True]
    """
    return share >= WHOLE or int.from_bytes(hashlib.sha256(key or b"").digest()[:8]) < int(share * _SPACE)


def checked(share: float, where: str) -> float:
    """The share, if it is one; SettingsError otherwise."""
    if not 0 < share <= WHOLE:
        raise SettingsError(
            "a sample is a share of all keys",
            where=where,
            found=share,
            expected="above 0, up to 1",
            hint="0.1 keeps a tenth of the keys, with all their rows.",
        )
    return share
