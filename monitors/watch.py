"""The whole watch over one model: fed with what flows, it answers with incidents.

Every decision is a function of known time and data: not of batch boundaries, of wall time, or of which topic was read
first. A family of monitors speaks about an instant only when the clocks of all it depends on have passed that instant:

============  =====================================
about         waits for
============  =====================================
sources       source_clock, which pulses move, too
features      source_clock, vector_clock, model_clock
scores        those and score_clock
parity        nothing: each comparison speaks at once
============  =====================================

A clock says that everything known *before* it has been handed over. A clock that is never moved holds back what waits
for it; `progress` tells how far each family has come.

The declared alarm budget is shared by all sources on one side, and by features and scores on the other; how limits keep it
is in `monitors.budget` and `monitors.drift_budget`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.budget import LEAST_LIMIT, SOURCES_SHARE
from samestream.monitors.declared import Declared, Drift, Parity, Quality, Silence
from samestream.monitors.drift_budget import Share
from samestream.monitors.incidents import IncidentBook, IncidentRecord, Lineage
from samestream.monitors.score_parity import ScoreParity
from samestream.monitors.score_watch import ScoreWatch
from samestream.monitors.slices import keys_of, no_keys
from samestream.monitors.source_clock import SourceClock
from samestream.monitors.source_spec import SourceSpec
from samestream.monitors.sources import TICK_US, SourceFamily, SourceWatch
from samestream.monitors.vectors import FeatureWatch, ParityWatch, Reference
from samestream.schemas.errors import DeclarationError, SamestreamError

__all__ = ["IncidentRecord", "Lineage", "SourceSpec", "Watch"]

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Column = npt.NDArray[Any]  # floats, or an object array of texts

_UNSET = int(np.iinfo(np.int64).min)


class Watch:
    """The monitors of one model, as declared. All times are known time in microseconds UTC."""

    def __init__(self, lineage: Lineage, sources: Sequence[SourceSpec], declared: Declared) -> None:
        self.lineage = lineage
        self._book = IncidentBook(lineage, declared.alarms_per_week)
        silence = next((check.longer_than_us for check in declared.features if isinstance(check, Silence)), None)
        self._refuse_unknown_groups(sources, declared)
        quality = any(isinstance(check, Quality) for check in declared.features)
        self._sources = {
            spec.event: SourceWatch(
                spec, silence_us=silence, quality=quality, filters=declared.filters, zone=declared.zone
            )
            for spec in sources
        }
        self._family = SourceFamily(self._sources, SOURCES_SHARE * declared.alarms_per_week)
        drifts = {
            place: next((check for check in checks if isinstance(check, Drift)), None)
            for place, checks in (("features", declared.features), ("scores", declared.scores))
        }
        self._features: FeatureWatch | None = None
        self._scores: ScoreWatch | None = None
        if (drift := drifts["features"]) is not None:
            share = Share.of(declared, is_scores=False)
            self._features = FeatureWatch(
                lineage, drift.window_us, self._book, share, drift.reference, declared.filters
            )
        if (drift := drifts["scores"]) is not None:
            share = Share.of(declared, is_scores=True)
            self._scores = ScoreWatch(lineage, drift.window_us, self._book, share, self._features, declared.filters)
        watched = any(isinstance(check, Parity) for check in declared.features)
        self._parity = ParityWatch(lineage, self._book) if watched else None
        self.score_parity = ScoreParity(self._book, lineage.features) if watched else None
        """Predictions against the announced artifacts, where `parity()` is declared; it speaks at once, too."""
        self._sources_read = SourceClock()
        self._vector_us = self._model_us = self._score_us = _UNSET

    @staticmethod
    def _refuse_unknown_groups(sources: Sequence[SourceSpec], declared: Declared) -> None:
        asked = [pair for check in declared.features if isinstance(check, Silence) for pair in check.by]
        known = {(spec.event, name) for spec in sources if not spec.is_table for name in spec.group_fields}
        for event, name in asked:
            if (event, name) not in known:
                raise DeclarationError(
                    "groups are watched in events that feed the model",
                    where=f"monitors of {declared.name}, silence(by=...)",
                    found=f"{event}.{name}",
                    expected=f"a field of {', '.join(spec.event for spec in sources if not spec.is_table)}",
                    hint="reference tables speak only when something changes; of other events, name one that a feature reads.",
                )

    @property
    def progress(self) -> dict[str, int]:
        """Known time up to which each family has spoken; the least integer where a clock was never moved."""
        sources = self._sources_read.known_us
        features = min(sources, self._vector_us, self._model_us)
        return {"sources": sources, "features": features, "scores": min(features, self._score_us)}

    @property
    def specs(self) -> list[SourceSpec]:
        """What is watched of each source."""
        return [source.spec for source in self._sources.values()]

    @property
    def budget(self) -> dict[str, Any]:
        """What the alarm budget rests on: the sources' share of it, the history, the limit, and who has no say.

        ``limit_nats`` is None while the history is shorter than ``shortest_days``: nothing is promised, and only declared
        ranges speak; ``learned_days`` is how many good days there are so far, ``since_us`` when the first event was known.
        ``features`` and ``scores``, where their drift is watched, say the same of these; ``raised`` is by what the limits of
        the calmest of them are multiplied.
        """
        family, limits = self._family, self._family.limits
        drifts: dict[str, FeatureWatch | ScoreWatch | None] = {"features": self._features, "scores": self._scores}
        return {
            "sources_per_week": family.per_week,
            "shortest_days": family.shortest_days,
            "days": limits.days if limits else 0,
            "learned_days": family.learned_days,
            "since_us": family.since_us,
            "limit_nats": limits.level if limits else None,
            "opened_on_those_days": limits.opened if limits else None,
            "blind": list(family.blind),
            **{name: _drift_budget(one) for name, one in drifts.items() if one is not None},
        }

    def on_events(
        self,
        event: str,
        known_us: Int64s,
        time_us: Int64s,
        fields: Mapping[str, tuple[Column, Bools]],
        keys: Sequence[Any] | None = None,
        partitions: Int64s | None = None,
        offsets: Int64s | None = None,
    ) -> None:
        """Take readable events of one type, late ones too, in known-time order.

        known_us, time_us : known and event time, shape (n,). fields : at least those of the source's spec, each as
        (values, valid) of shape (n,). keys : of each event, by which repeated ones are told; they are not, without.
        partitions : of each event, numbered from 0, shape (n,); all 0 without. offsets : of each event, told with examples.
        Raises SamestreamError for an event no source was declared for, or a field that is missing.
        """
        if event not in self._sources:
            raise SamestreamError(
                "events of a source that is not watched",
                where=f"Watch of {self.lineage.model}",
                found=event,
                expected=", ".join(self._sources) or "no events",
                hint="name the source when the Watch is made.",
            )
        source = self._sources[event]
        _columns(event, source.spec.fields, fields)
        source.add(known_us, time_us, fields, keys, partitions, offsets)

    def on_rejected(self, event: str, known_us: Int64s) -> None:
        """Take note of events that could not be read, in known-time order. known_us : shape (n,)."""
        if event in self._sources:
            self._sources[event].rejected.add(known_us)

    def source_clock(self, known_us: int) -> None:
        """Every source has been read up to this known time."""
        self.read_sources(np.array([known_us], np.int64), np.zeros(1, np.bool_))

    def read_sources(self, known_us: Int64s, is_pulse: Bools) -> None:
        """These have been read of the sources, in merged order, with the pulses among them (`monitors.source_clock`).

        known_us, is_pulse : shape (n,); events were handed over before.
        """
        self._sources_read.read(known_us, is_pulse)
        self._family.advance(self._sources_read.known_us, self._book.observe)
        self._advance()

    def on_vectors(
        self, known_us: Int64s, fields: Mapping[str, tuple[Column, Bools]], keys: Sequence[Any] | None = None
    ) -> None:
        """Take served vectors, in known-time order.

        fields : feature -> (values, valid), shape (n,) each; floats or texts. keys : of each vector, told as examples.
        """
        if self._features is not None:
            told = no_keys(len(known_us)) if keys is None else keys_of(keys)
            self._features.windows.rows.add(known_us, told, *_columns("vectors", self.lineage.features, fields))

    def vector_clock(self, known_us: int) -> None:
        """All vectors known before this have been handed over."""
        self._vector_us = max(self._vector_us, known_us)
        self._advance()

    def on_scores(
        self, known_us: Int64s, scores: Column, valid: Bools | None = None, keys: Sequence[Any] | None = None
    ) -> None:
        """Take scores, in known-time order: numbers, or the classes that won.

        scores, valid : shape (n,); all valid if None. keys : of each, told as examples.
        """
        if self._scores is not None:
            there = np.ones(len(scores), np.bool_) if valid is None else np.asarray(valid, np.bool_)
            told = no_keys(len(there)) if keys is None else keys_of(keys)
            self._scores.windows.rows.add(known_us, told, _column(scores), there)

    def score_clock(self, known_us: int) -> None:
        """All scores known before this have been handed over."""
        self._score_us = max(self._score_us, known_us)
        self._advance()

    def on_model(self, version: str, applies_from_us: int, reference: Mapping[str, Any]) -> None:
        """Take a model version. ``reference["features"][name]`` is the profile (as JSON) of the training set's column.

        ``reference["scores"]``, where given, is the profile of its scores on the training rows.
        ``reference["from_us"]``, where given, is when the training period began; otherwise 30 days are assumed.
        ``reference["importance"]``, where given, says what each feature is to the model: shares of all. It is told with
        incidents after `applies_from_us`; so that it does not depend on batches, hand a version over before the clock of the
        sources passes that instant.
        Raises SchemaError for a profile counted by another rule.
        """
        read = Reference.read(version, applies_from_us, reference)
        self._book.add_importance(applies_from_us, read.importance)
        if self._features is not None:
            self._features.add_reference(read)
        if self._scores is not None:
            self._scores.add_reference(read)

    def model_clock(self, known_us: int) -> None:
        """All model versions that apply from before this have been handed over."""
        self._model_us = max(self._model_us, known_us)
        self._advance()

    def on_parity(self, compared: int, mismatched: int, by_feature: Mapping[str, int], known_us: int) -> None:
        """Take the outcome of one comparison of served with replayed vectors; known times do not decrease.

        by_feature : feature -> vectors in which it differed.
        """
        if self._parity is not None:
            self._parity.compared(compared, mismatched, by_feature, known_us)

    def records(self) -> list[IncidentRecord]:
        """Return what happened to incidents since the last call, ordered by the instant each record is about."""
        return self._book.records()

    def _advance(self) -> None:
        # in the ticks of the sources, so that these have spoken about all that the others speak about
        if self._features is not None:
            self._features.advance(self.progress["features"] // TICK_US * TICK_US)
        if self._scores is not None:
            self._scores.advance(self.progress["scores"] // TICK_US * TICK_US)


def _drift_budget(watch: FeatureWatch | ScoreWatch) -> dict[str, Any]:
    levels, limits = watch.levels, watch.levels.limits
    return {
        "per_week": levels.per_week,
        "shortest_days": levels.shortest_days,
        "days": levels.days,
        "raised": limits.level / LEAST_LIMIT if limits else None,
        "opened_on_those_days": limits.opened if limits else None,
        "blind": sorted({*levels.wild, *watch.blind}),
    }


def _columns(where: str, names: Sequence[str], fields: Mapping[str, tuple[Column, Bools]]) -> list[npt.NDArray[Any]]:
    missing = [name for name in names if name not in fields]
    if missing:
        raise SamestreamError(
            "columns are missing",
            where=where,
            found=", ".join(fields),
            expected=", ".join(names),
            hint="hand over every column, all invalid where it holds nothing.",
        )
    columns: list[npt.NDArray[Any]] = []
    for name in names:
        values, valid = fields[name]
        columns += [_column(values), np.asarray(valid, np.bool_)]
    return columns


def _column(values: Column) -> Column:
    """Texts as they are, all else as floats."""
    return values if np.asarray(values).dtype == object else np.asarray(values, np.float64)
