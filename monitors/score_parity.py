"""Is a prediction what the announced model says of the served vector? Scored again, and compared bit for bit.

Every prediction names the version that made it. The models topic says which artifact that is, and the features topic what the
vector was. So another artifact under the same version, another order of the inputs, or a scorer that computes something else is
seen with the first prediction that it changes, however little the scores move as a whole.

A vector and its prediction are known at one instant and may come in either order; what has come waits for the other, within
bounds. What is told depends on the log alone: the first prediction of each vector is judged, at the instant at which it was known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.incidents import HOUR_US, Finding, IncidentBook
from samestream.schemas.errors import ArtifactError
from samestream.streams.columns import BoolArray, ColumnData, Columns
from samestream.streams.models.artifact import Artifact

Ints = npt.NDArray[np.int64]
Load = Callable[[str, str], Artifact | None]
"""The artifact of a URI and a digest; None where it cannot be had here."""

SWAPPED, PLACE, CAUSE = "model_swapped", "scores", "artifact"
KEPT_US, KEPT_ROWS = 48 * HOUR_US, 100_000
"""A vector waits so long for its prediction, in known time, and at most so many do; and predictions for their vectors."""
_PARTS = 64
"""Pieces that are left apart while nothing is to be compared: joining them at every batch would cost more than it saves."""


class Waiting:
    """Rows that wait for their counterparts. names : of the columns, each (values, valid)."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._parts: list[tuple[npt.NDArray[Any], ...]] = []

    def add(self, known_us: Ints, place: Ints, keys: npt.NDArray[Any], columns: Columns) -> None:
        """Append rows; all arrays of shape (n,). place : what the counterpart has, too."""
        pairs = [part for name in self.names for part in (columns[name].values, columns[name].valid)]
        self._parts.append((np.asarray(known_us, np.int64), np.asarray(place, np.int64), keys, *pairs))

    def rows(self) -> tuple[npt.NDArray[Any], ...] | None:
        """All rows, as known time, place, key, and two columns per name; None where there are none."""
        if not self._parts:
            return None
        self._parts = [tuple(np.concatenate(parts) for parts in zip(*self._parts, strict=True))]
        return self._parts[0]

    def __len__(self) -> int:
        return len(self._parts)

    def keep_since(self, kept_us: int) -> None:
        """Keep the rows known so long before the newest, once they lie in many pieces."""
        if len(self._parts) > _PARTS and (rows := self.rows()) is not None:
            self.keep(rows[0] >= rows[0].max() - kept_us)

    def keep(self, chosen: npt.NDArray[Any]) -> None:
        """Keep some of the rows, the newest where they are too many. chosen : what indexes them."""
        rows = self.rows()
        if rows is not None:
            kept = np.arange(len(rows[0]))[chosen][-KEPT_ROWS:]
            self._parts = [tuple(column[kept] for column in rows)] if len(kept) else []


class ScoreParity:
    """The predictions of one model against its artifacts.

    features : names of what a vector holds.
    """

    def __init__(self, book: IncidentBook, features: Sequence[str]) -> None:
        self._book = book
        self._vectors, self._said = Waiting(features), Waiting(("version", "score", "value"))
        self._announced: dict[str, tuple[str, str]] = {}
        self._at_us = 0
        self._is_open = False
        self.compared = self.mismatched = self.unknown = 0
        """Predictions compared; those that differ; those whose artifact could not be had."""

    def announce(self, version: str, uri: str, digest: str) -> None:
        """Take note of a version of the models topic, in whatever slot."""
        self._announced[version] = (uri, digest)

    def on_vectors(self, known_us: Ints, place: Ints, keys: npt.NDArray[Any], columns: Columns) -> None:
        """Take served vectors. place : of their triggers, see `transport.position`. Before a model was announced none is scored."""
        if self._announced and len(known_us):
            self._vectors.add(known_us, place, keys, columns)

    def on_predictions(self, known_us: Ints, place: Ints, keys: npt.NDArray[Any], columns: Columns) -> None:
        """Take predictions. columns : `version`, `score` and `value`."""
        if len(known_us):
            self._said.add(known_us, place, keys, columns)

    def compare(self, load: Load) -> None:
        """Judge the predictions whose vectors have come, in known-time order."""
        if not len(self._vectors) or not len(self._said):
            self._vectors.keep_since(KEPT_US)
            self._said.keep_since(KEPT_US)
            return
        vectors, said = self._vectors.rows(), self._said.rows()
        assert vectors is not None
        assert said is not None
        _, left, right = np.intersect1d(vectors[1], said[1], return_indices=True)
        order = np.lexsort((said[1][right], said[0][right]))
        left, right = left[order], right[order]
        features = _columns(self._vectors.names, vectors, left)
        answers = _columns(self._said.names, said, right)
        wrong, expected, judged = self._judged(features, answers, load)
        self._tell(said[0][right], said[2][right], answers, wrong, expected, judged)
        newest_us = max(int(vectors[0].max()), int(said[0].max()))
        for waiting, rows, used in ((self._vectors, vectors, left), (self._said, said, right)):
            chosen = rows[0] >= newest_us - KEPT_US
            chosen[used] = False
            waiting.keep(chosen)

    def _judged(self, features: Columns, answers: Columns, load: Load) -> tuple[BoolArray, list[Any], BoolArray]:
        """Which answers are wrong, what they should have been, and which could be judged."""
        versions = answers["version"].values
        wrong, judged = np.zeros(len(versions), np.bool_), np.ones(len(versions), np.bool_)
        expected: list[Any] = [None] * len(versions)
        for version in dict.fromkeys(versions.tolist()):
            rows = np.flatnonzero(versions == version)
            if version not in self._announced:
                wrong[rows] = True
                continue
            artifact = load(*self._announced[version])
            if artifact is None or not set(artifact.inputs) <= set(features):
                judged[rows] = False
                continue
            mine = {name: features[name].take(rows) for name in artifact.inputs}
            try:
                scores, values = score_again(artifact, mine)
            except ArtifactError:
                judged[rows] = False
                continue
            score, value = answers["score"].take(rows), answers["value"].take(rows)
            here = np.where(score.valid, score.values.astype(np.float64), np.nan)
            differs = ~((here == scores) | (np.isnan(here) & np.isnan(scores)))
            if values is not None:
                differs |= ~np.isnan(scores) & np.array(value.values != values, np.bool_)
            wrong[rows] = differs
            for row, one in zip(rows.tolist(), scores.tolist(), strict=True):
                expected[row] = one
        return wrong, expected, judged

    def _tell(
        self,
        known_us: Ints,
        keys: npt.NDArray[Any],
        answers: Columns,
        wrong: BoolArray,
        expected: Sequence[Any],
        judged: BoolArray,
    ) -> None:
        self.compared += int(judged.sum())
        self.mismatched += int(wrong.sum())
        self.unknown += int((~judged).sum())
        if not self._is_open and not wrong.any():
            self._at_us = max(self._at_us, int(known_us[-1])) if len(known_us) else self._at_us
            return
        scores = answers["score"]
        for row in np.flatnonzero(judged).tolist():
            self._at_us = max(self._at_us, int(known_us[row]))
            findings = []
            if wrong[row]:
                version = answers["version"].values[row]
                uri, digest = self._announced.get(version, ("", ""))
                evidence = {
                    "version": version,
                    "announced": bool(uri),
                    "artifact": uri,
                    "digest": digest,
                    "entity": keys[row],
                    "served_score": _plain(float(scores.values[row]) if scores.valid[row] else None),
                    "score_of_artifact": _plain(expected[row]),
                }
                findings = [Finding(SWAPPED, 1.0, evidence)]
            elif not self._is_open:
                continue
            self._is_open = self._book.observe(CAUSE, findings, self._at_us, place=PLACE, affected=())


def score_again(artifact: Artifact, columns: Columns) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any] | None]:
    """What an artifact says: scores, NaN where none; and the classes that win, where it predicts one."""
    matrix = artifact.encoding.matrix(columns)
    predictor = artifact.predictor()
    if artifact.output != "class":
        return predictor.predict(matrix), None
    chances = predictor.chances(matrix)
    winners = chances.argmax(axis=1)
    return chances[np.arange(len(chances)), winners], np.array(artifact.classes, object)[winners]


def _columns(names: Sequence[str], rows: Sequence[npt.NDArray[Any]], chosen: Ints) -> Mapping[str, ColumnData]:
    return {
        name: ColumnData(rows[3 + 2 * at][chosen], rows[4 + 2 * at][chosen].astype(np.bool_))
        for at, name in enumerate(names)
    }


def _plain(score: float | None) -> float | None:
    """A score as JSON holds it."""
    return None if score is None or not np.isfinite(score) else score
