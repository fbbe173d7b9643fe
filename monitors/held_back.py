"""What is wrong with a source is held back until it has lasted, and shown itself, as its monitors declare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from samestream.monitors.checks import Filters
from samestream.monitors.incidents import MINUTE_US, Finding

_NOTHING_COMES = frozenset({"missing_source", "missing_partition", "missing_group"})
"""Verdicts that no event can show: of these only the time counts."""


class HeldBack:
    """By cause: since when something has been wrong, and how many events came since."""

    def __init__(self, filters: Filters) -> None:
        self._filters = filters
        self._since: dict[str, tuple[int, int]] = {}
        self._passed: set[str] = set()

    def waits(self, cause: str) -> bool:
        """Whether something is wrong that was not let pass yet."""
        return cause in self._since and cause not in self._passed

    def forget(self, cause: str) -> None:
        """Its incident is closed: what is wrong next is held back anew."""
        self._passed.discard(cause)

    def passed(self, cause: str, findings: Sequence[Finding], at_us: int, rows: int) -> list[Finding]:
        """Those findings of an instant that may be told; with how long they held, and for how many events, once they are.

        rows : events of the source that came since the instant before.
        """
        if self._filters == Filters():
            return list(findings)
        if not findings:
            self._since.pop(cause, None)
            return []
        first = min([at_us, *(one.since_us for one in findings if one.since_us is not None)])
        since_us, seen = self._since.get(cause, (first, 0))
        self._since[cause] = min(since_us, first), seen + rows
        since_us, seen = self._since[cause]
        if cause not in self._passed:
            few = seen < self._filters.min_rows and not any(one.verdict in _NOTHING_COMES for one in findings)
            if few or at_us - since_us < self._filters.lasting_us:
                return []
            self._passed.add(cause)
        held = {"held_minutes": round((at_us - since_us) / MINUTE_US, 2), "held_rows": seen}
        return [replace(one, evidence={**one.evidence, **held}) for one in findings]
