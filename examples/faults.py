"""Faults for the flights example: what breaks upstream of a feature platform, made to order.

This is outside the product on purpose. Nothing in samestream may know that a fault was injected; the monitors have to
find it. Inject into whole streams, before `samestream.examples.flights_data.releases` splits them by known time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from samestream.examples.event_batch import EventBatch
from samestream.examples.flights_data import HOUR_US, local_instant_us
from samestream.schemas.errors import SettingsError

FAULTS = ("none", "unit", "frozen", "late", "missing")

FAULT_CAUSES = {
    "unit": "Departure.dep_delay",
    "frozen": "Departure.dep_delay",
    "late": "Departure",
    "missing": "Weather",
}
"""What a diagnosis should name as the cause: the field, or the event if all of it suffers. ``none`` has no cause."""

FAULT_DESCRIPTIONS = {
    "none": "nothing breaks",
    "unit": "departures report dep_delay in seconds instead of minutes (times 60); dep_delay_hours stays right",
    "frozen": "departures repeat the last dep_delay reported before the fault; dep_delay_hours stays right",
    "late": "departures become known 3 hours later than they would have; their event times stay right",
    "missing": "weather stops arriving",
}

LATE_US = 3 * HOUR_US


def default_start_us(months: Sequence[int]) -> int:
    """Noon in New York on the 11th of the last month, in microseconds UTC. months : of 1 to 12, at least one."""
    if not months:
        raise SettingsError(
            "a fault needs a month to begin in", where="months", found=[], hint="name at least one month, such as 3."
        )
    return local_instant_us(max(months), 11, hour=12)


def inject(fault: str, batches: dict[str, EventBatch], start_us: int) -> dict[str, EventBatch]:
    """Return the streams as they would have been with the fault, which strikes events known at `start_us` or later.

    The streams given are not changed, and those that the fault spares are returned as the same objects.

    fault : one of `FAULTS`; `FAULT_DESCRIPTIONS` says what each does.
    batches : event name -> events ordered by known time.
    start_us : microseconds UTC.
    Raises SettingsError for another fault, if its stream is not among the batches, or if ``frozen`` has no event before
    the start whose value could stick.
    """
    if fault not in FAULTS:
        raise SettingsError(
            "no such fault",
            where="fault",
            found=repr(fault),
            expected=", ".join(FAULTS),
            hint="choose one of those; `none` leaves everything as it was.",
        )
    if fault == "none":
        return dict(batches)
    event = FAULT_CAUSES[fault].partition(".")[0]
    if event not in batches:
        raise SettingsError(
            f"the fault strikes {event}, which is not among the streams",
            where=f"fault {fault!r}",
            found=", ".join(batches) or "no streams",
            expected=event,
            hint="inject before leaving out any stream.",
        )
    struck = batches[event].known_us >= start_us
    return {**batches, event: _CHANGES[fault](batches[event], struck)}


Struck = npt.NDArray[np.bool_]  # shape (events,): which events the fault strikes


def _unit(batch: EventBatch, struck: Struck) -> EventBatch:
    delay = np.asarray(batch.columns["dep_delay"], dtype=np.float64)
    return _with_delay(batch, np.where(struck, delay * 60.0, delay))


def _frozen(batch: EventBatch, struck: Struck) -> EventBatch:
    delay = np.asarray(batch.columns["dep_delay"], dtype=np.float64)
    before = np.flatnonzero(~struck)
    if not len(before):
        raise SettingsError(
            "no departure is known before the fault starts, so no value can stick",
            where="fault 'frozen'",
            found=f"{len(batch)} departures, all struck",
            expected="at least one departure before the start",
            hint="start later or load an earlier month.",
        )
    return _with_delay(batch, np.where(struck, delay[before[-1]], delay))


def _late(batch: EventBatch, struck: Struck) -> EventBatch:
    return replace(batch, known_us=batch.known_us + np.where(struck, LATE_US, 0)).by_known_time()


def _missing(batch: EventBatch, struck: Struck) -> EventBatch:
    return batch.take(np.flatnonzero(~struck).astype(np.int64))


def _with_delay(batch: EventBatch, delay: npt.NDArray[np.float64]) -> EventBatch:
    return replace(batch, columns={**batch.columns, "dep_delay": delay})


_CHANGES: dict[str, Callable[[EventBatch, Struck], EventBatch]] = {
    "unit": _unit,
    "frozen": _frozen,
    "late": _late,
    "missing": _missing,
}
