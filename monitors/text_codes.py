"""The texts of a source's fields as numbers, and which of them are one text but for how they are spelled."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

NO_FORM = -1
"""Of a text of which nothing is left, such as a dash: it is no spelling of another."""


class TextCodes:
    """Numbers texts in the order in which they first come, and so their normal forms; shared by the fields of a source.

    said : the text of each number.
    """

    def __init__(self) -> None:
        self.said: list[str] = []
        self._codes: dict[str, int] = {}
        self._form_numbers: dict[str, int] = {}
        self._forms: Ints = np.zeros(64, np.int64)

    @property
    def forms(self) -> Ints:
        """The number of each text's normal form, `NO_FORM` where it has none; shape (texts,)."""
        return self._forms[: len(self.said)]

    def of(self, texts: Sequence[Any]) -> Ints:
        """The number of each text, -1 for None, shape (n,)."""
        found = np.full(len(texts), -1, np.int64)
        codes = self._codes
        for row, text in enumerate(texts):
            if text is not None:
                code = codes.get(text)
                found[row] = self._new(text) if code is None else code
        return found

    def _new(self, text: str) -> int:
        code = self._codes[text] = len(self.said)
        self.said.append(text)
        if code == len(self._forms):
            self._forms = np.concatenate([self._forms, np.zeros(code, np.int64)])
        form = normal_form(text)
        self._forms[code] = self._form_numbers.setdefault(form, len(self._form_numbers)) if form else NO_FORM
        return code


def normal_form(text: str) -> str:
    """A text without what people change by mistake: case, accents, spaces, punctuation.

    >>> normal_form("São-Paulo ")
    'saopaulo'
    """
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(sign for sign in plain if sign.isalnum())
