"""Which definition made the newest vectors: where it is not the one that models and monitors were made for, nobody reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from samestream.console.reading import Translator, instant, newest
from samestream.console.unread import Unread
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import NAME
from samestream.streams.engine.journal import Entry
from samestream.streams.models.model_registry import CHAMPION, versions
from samestream.streams.plan import Plan
from samestream.streams.transport import Transport


@dataclass(frozen=True)
class Mismatch:
    """The newest vectors of a model are not of the definition that somebody reads them by.

    served : their definition. ours : that of the module. champion : that of the champion, None where there is none.
    since_us : known time from which the features process served so, served_vectors : how many it made since, of all models;
    is_only : the app has no other model
    """

    model: str
    served: str
    ours: str
    champion: str | None
    since_us: int | None
    served_vectors: int
    is_only: bool = True

    @property
    def line(self) -> str:
        """What is wrong, and what to do."""
        whose = "" if self.is_only else " of all models"
        since = f" since {instant(self.since_us)}, {self.served_vectors:,} vectors{whose}" if self.since_us else ""
        if self.served != self.ours:
            says = (
                f"the newest vectors are of another definition ({self.served}{since}) than this module's ({self.ours})"
            )
            hint = "run features, scorer and monitor with one module; `samestream diff --deployed MODULE` tells what changed"
        else:
            says = f"the newest vectors are of definition {self.served}"
            hint = "`samestream train MODULE`, or run features with the module that the champion was trained with"
        unscored = ""
        if self.champion != self.served:
            unscored = f": the champion, of {self.champion}, scores none of them" if self.champion else ""
        return f"{self.model}: {says}{unscored}. Hint: {hint}."


def mismatches(transport: Transport, plan: Plan) -> list[Mismatch]:
    """One for each model whose newest vector is of another definition than the module's, or than its champion's."""
    translate = Translator(provision.store(transport, plan))
    existing = transport.topics()
    champions = {}
    if plan.registry in existing:
        champions = {one.model: one.fingerprint for one in versions(transport, plan.registry) if one.slot == CHAMPION}
    found: list[Mismatch] = []
    run: list[Entry] = []
    for name, model in plan.models.items():
        seen = newest(transport, model.topics["features"], 1) if model.topics["features"] in existing else []
        served = str((translate.record(seen[0].value) or {}).get("fingerprint", "")) if seen else ""
        champion = champions.get(name)
        if not served or (served == model.fingerprint and champion in (None, served)):
            continue
        run = run or list(_newest_run(journal.read(transport, plan.journal, NAME)))
        found.append(
            Mismatch(
                name,
                served,
                model.fingerprint,
                champion,
                _began_us(transport, run),
                sum(entry.emitted for entry in run),
                len(plan.models) == 1,
            )
        )
    return found


def _newest_run(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The last entries that one definition made, newest first."""
    for entry in reversed(entries):
        if entry.fingerprint != entries[-1].fingerprint:
            return
        yield entry


def _began_us(transport: Transport, run: Sequence[Entry]) -> int | None:
    """Known time of the first event of these entries; they themselves say only up to when each has come."""
    firsts = {part.partition: part.start for entry in run for part in entry.ranges}  # newest first, so the oldest stays
    span = Unread(transport).spans({NAME: firsts})[NAME]
    return None if span is None else span.oldest_us
