"""One field of texts of a source: texts never seen, known ones spelled otherwise, missing, frozen."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors import text_evidence
from samestream.monitors.detectors import Detectors
from samestream.monitors.incidents import Finding
from samestream.monitors.text_codes import TextCodes
from samestream.monitors.usual import HOURS_A_GROUP
from samestream.monitors.usual_texts import TextsTable, UsualTexts

Ints = npt.NDArray[np.int64]
NAMES = ("unseen", "nulls", "frozen", "respelled")
SHOWN = 200
MANY = 20_000
"""Different texts from which a field names things rather than kinds of things: it is no longer watched."""


class TextWatch:
    """See the module. codes : the numbers of texts, shared by the fields of a source, so that they can be exchanged.

    crowded : so many texts came that the field is no longer watched; they are numbered no more.
    """

    def __init__(self, cause: str, codes: TextCodes) -> None:
        self.cause = cause
        self.detectors = Detectors(NAMES, of=cause)
        self.table: TextsTable | None = None
        self.crowded = False
        self._codes = codes
        self._usual = UsualTexts()
        self._came: set[int] = set()  # codes, on good days and on others
        self._days = 0
        self._previous = np.full(1, -2, np.int64)
        self._today: list[tuple[Ints, int]] = []
        self._latest: Ints = np.zeros(0, np.int64)

    def number(self, texts: npt.NDArray[Any]) -> Ints:
        """The numbers of a tick's texts, None for null, shape (n,); -1 for all once the field is crowded.

        By ticks, so that neither the numbers nor how many there are depend on how events were handed over.
        """
        if self.crowded:
            return np.full(len(texts), -1, np.int64)
        codes = self._codes.of(texts.tolist())
        self._came.update(codes.tolist())
        self._came.discard(-1)
        if len(self._came) >= MANY:
            self.crowded = True
            self.detectors.stop()
            self._today, self._came = [], set()
        return codes

    def look(self, codes: Ints, known_us: Ints, hour: int) -> list[Finding]:
        """Look at the next texts, none or more, and return what holds now.

        codes, known_us : shape (n,); -1 is null. hour : of the day, UTC.
        """
        if len(codes) and not self.crowded:
            if self.table is not None:
                table = self.table
                text_evidence.texts(
                    codes, hour // HOURS_A_GROUP, table.by_group, table.unseen, table.twin, self._codes.forms, table.forms,
                    table.null_share, table.repeat_share, self._previous, *self.detectors.arrays,
                )  # fmt: skip
                self.detectors.settle(known_us)
            self._today.append((codes, hour // HOURS_A_GROUP))
            self._latest = np.concatenate([self._latest, codes])[-SHOWN:]
        return [self._finding(place, since_us) for place, since_us in self.detectors.active.items()]

    def close_day(self, learn: bool) -> None:
        """Learn the day if it was good, and begin another."""
        codes = np.concatenate([part for part, _ in self._today]) if self._today else np.zeros(0, np.int64)
        if learn and not self.crowded:
            groups = np.repeat(
                np.array([group for _, group in self._today], np.int64),
                np.array([len(part) for part, _ in self._today], np.int64),
            )
            self._usual.learn(codes, groups, self._codes.forms, self._days)
            self._days += 1
            self.table = self._usual.table()
        self._today = []

    def _finding(self, place: int, since_us: int) -> Finding:
        evidence: dict[str, Any] = {
            "nats": round(float(self.detectors.levels[place]), 2),
            "limit_nats": round(float(self.detectors.limits[place]), 2),
        }
        verdict = "nulls" if place == text_evidence.NULLS else "frozen"
        if place in (text_evidence.UNSEEN, text_evidence.RESPELLED) and self.table is not None:
            known = self.table.usual
            new = [
                code for code in self._latest.tolist() if code >= len(known) or (code >= 0 and known[code] == -np.inf)
            ]
            said = self._codes.said
            respelled = {
                said[code]: before for code in dict.fromkeys(new) if (before := self._known_as(code)) is not None
            }
            gone = self._gone()
            is_respelled = place == text_evidence.RESPELLED or respelled or gone
            verdict = "respelled" if is_respelled else "new_category"
            evidence |= {
                "texts": list(dict.fromkeys(said[code] for code in new))[:5],
                "share": round(len(new) / max(len(self._latest), 1), 4),
                "known_as": dict(list(respelled.items())[:5]),
                "gone": gone[:5],
            }
        elif place == text_evidence.FROZEN:
            evidence["value"] = self._codes.said[int(self._previous[0])]
        return Finding(verdict, 1.0, evidence, score=float(self.detectors.scores[place]), since_us=since_us)

    def _known_as(self, code: int) -> str | None:
        """The commonest known text of which a new one is another spelling, if there is any."""
        assert self.table is not None
        forms, known = self._codes.forms, self.table.usual
        if forms[code] < 0:
            return None
        same = np.flatnonzero((forms[: len(known)] == forms[code]) & (known > -np.inf))
        said = self._codes.said
        best = min(same.tolist(), key=lambda code: (-known[code], said[code]), default=None)
        return None if best is None else said[best]

    def _gone(self) -> list[str]:
        """Known texts that should have come by now and did not, but for a chance of one in ten thousand each; commonest first."""
        assert self.table is not None
        with np.errstate(invalid="ignore"):
            expected = np.exp(self.table.usual) * len(self._latest)
        said = self._codes.said
        common = sorted(np.flatnonzero(expected > 9.3).tolist(), key=lambda code: (-expected[code], said[code]))
        return [said[code] for code in common if not np.any(self._latest == code)]
