"""One field of texts of a source: texts never seen, known ones spelled otherwise, missing, frozen."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors import text_evidence
from samestream.monitors.detectors import Detectors
from samestream.monitors.incidents import Finding
from samestream.monitors.usual import HOURS_A_GROUP, TextsTable, UsualTexts

Ints = npt.NDArray[np.int64]
NAMES = ("unseen", "nulls", "frozen")
SHOWN = 200
FIRST_DAYS = 3
"""Days in which everything is new, and being new says nothing."""
MANY = 20_000
"""Different texts from which a field names things rather than kinds of things: it is no longer watched."""


class TextWatch:
    """See the module. codes : text -> its number, shared by the fields of a source, so that they can be exchanged."""

    def __init__(self, cause: str, codes: dict[str, int], said: list[str]) -> None:
        self.cause = cause
        self.detectors = Detectors(NAMES)
        self.table: TextsTable | None = None
        self._codes, self._said = codes, said
        self._usual = UsualTexts()
        self._days = 0
        self._previous = np.full(1, -2, np.int64)
        self._today: list[tuple[Ints, int]] = []
        self._latest: Ints = np.zeros(0, np.int64)

    def look(self, codes: Ints, known_us: Ints, hour: int) -> list[Finding]:
        """Look at the next texts, none or more, and return what holds now.

        codes, known_us : shape (n,); -1 is null. hour : of the day, UTC.
        """
        if len(codes):
            if self.table is not None and len(self.table.usual) < MANY:
                table = self.table
                text_evidence.texts(
                    codes, hour // HOURS_A_GROUP, table.by_group, table.unseen, table.null_share, table.repeat_share,
                    self._previous, *self.detectors.arrays,
                )  # fmt: skip
                self.detectors.settle(known_us)
            self._today.append((codes, hour // HOURS_A_GROUP))
            self._latest = np.concatenate([self._latest, codes])[-SHOWN:]
        return [self._finding(place, since_us) for place, since_us in self.detectors.active.items()]

    def close_day(self, learn: bool) -> None:
        """Learn the day if it was good, and begin another."""
        if learn:
            codes = np.concatenate([part for part, _ in self._today]) if self._today else np.zeros(0, np.int64)
            groups = np.repeat(
                np.array([group for _, group in self._today], np.int64),
                np.array([len(part) for part, _ in self._today], np.int64),
            )
            self._usual.learn(codes, groups, self._days < FIRST_DAYS)
            self._days += 1
            self.table = self._usual.table()
        self._today = []

    def _finding(self, place: int, since_us: int) -> Finding:
        evidence: dict[str, Any] = {
            "nats": round(float(self.detectors.levels[place]), 2),
            "limit_nats": round(float(self.detectors.limits[place]), 2),
        }
        verdict = "nulls" if place == text_evidence.NULLS else "frozen"
        if place == text_evidence.UNSEEN and self.table is not None:
            known = self.table.usual
            new = [
                code for code in self._latest.tolist() if code >= len(known) or (code >= 0 and known[code] == -np.inf)
            ]
            texts = list(dict.fromkeys(self._said[code] for code in new))
            folded = {_folded(self._said[code]): self._said[code] for code in np.flatnonzero(known > -np.inf).tolist()}
            respelled = {text: folded[_folded(text)] for text in texts if _folded(text) in folded}
            gone = self._gone()
            verdict = "respelled" if respelled or gone else "new_category"
            evidence |= {
                "texts": texts[:5],
                "share": round(len(new) / max(len(self._latest), 1), 4),
                "known_as": dict(list(respelled.items())[:5]),
                "gone": gone[:5],
            }
        elif place == text_evidence.FROZEN:
            evidence["value"] = self._said[int(self._previous[0])]
        return Finding(verdict, 1.0, evidence, score=float(self.detectors.scores[place]), since_us=since_us)

    def _gone(self) -> list[str]:
        """Known texts that should have come by now and did not, but for a chance of one in ten thousand each."""
        assert self.table is not None
        with np.errstate(invalid="ignore"):
            expected = np.exp(self.table.usual) * len(self._latest)
        common = np.flatnonzero(expected > 9.3)
        return [self._said[code] for code in common.tolist() if not np.any(self._latest == code)]


def coded(texts: Sequence[Any], codes: dict[str, int], said: list[str]) -> Ints:
    """The number of each text, given in the order in which texts first come; -1 for null."""
    found = np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        if text is None:
            found[row] = -1
            continue
        code = codes.get(text)
        if code is None:
            code = codes[text] = len(said)
            said.append(text)
        found[row] = code
    return found


def _folded(text: str) -> str:
    """A text without what people change by mistake: case, accents, spaces, punctuation."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(sign for sign in plain if sign.isalnum())
