"""The flights of 2013 as arrays that a watch takes: sources by known time."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.examples import flights, flights_data
from samestream.monitors.declared import Silence, calibration, performance, silence
from samestream.monitors.incidents import Lineage
from samestream.monitors.outcome_watch import OutcomeWatch
from samestream.monitors.task import make_watch
from samestream.monitors.watch import Watch
from samestream.schemas import app as apps
from samestream.streams.lowering import compile_app

Ints = npt.NDArray[np.int64]
Column = tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
NUMERIC = {
    "Boarding": ("distance", "scheduled_dep_hour"),
    "Departure": ("dep_delay", "dep_delay_hours"),
    "Weather": ("temp", "wind_speed", "precip", "visib"),
}
TEXTS = {
    "Boarding": ("carrier", "origin"),
    "Departure": ("carrier", "origin"),
    "Weather": (),
}
PARTITIONS = 4


@dataclass(frozen=True)
class Rows:
    """Events of one type by known time. fields : name -> (values, valid)."""

    known_us: Ints
    time_us: Ints
    fields: dict[str, Column]
    keys: npt.NDArray[Any]
    partitions: Ints

    def __len__(self) -> int:
        return len(self.known_us)

    def take(self, places: Any) -> Rows:
        fields = {name: (values[places], valid[places]) for name, (values, valid) in self.fields.items()}
        return Rows(self.known_us[places], self.time_us[places], fields, self.keys[places], self.partitions[places])

    def between(self, from_us: int, until_us: int) -> Rows:
        return self.take(slice(*np.searchsorted(self.known_us, [from_us, until_us])))

    def by_known_time(self) -> Rows:
        return self.take(np.argsort(self.known_us, kind="stable"))

    def with_field(self, name: str, values: npt.NDArray[Any]) -> Rows:
        return replace(self, fields={**self.fields, name: (values, self.fields[name][1])})


@cache
def year() -> dict[str, Rows]:
    """Every event of the year that the model's features read, by event name."""
    found = {}
    batches = flights_data.load(range(1, 13))
    for event in NUMERIC:
        batch = batches[event]
        fields = {}
        for name in NUMERIC[event]:
            values = np.array([np.nan if v is None else v for v in batch.columns[name]], np.float64)
            fields[name] = (np.nan_to_num(values), ~np.isnan(values))
        for name in TEXTS[event]:
            texts = np.array(batch.columns[name], object)
            fields[name] = (texts, np.array([text is not None for text in texts]))
        keys = np.array(batch.key, object)
        partitions = np.array([zlib.crc32(key.encode()) % PARTITIONS for key in batch.key], np.int64)
        found[event] = Rows(batch.known_us, np.asarray(batch.columns["at"], np.int64), fields, keys, partitions)
    return found


def new_watch() -> Watch:
    """The watch over the flights' model, as it is declared, but that a silence of half an hour may count."""
    declared = flights.LateArrivalHealth.__monitors__
    checks = tuple(silence("30m") if isinstance(check, Silence) else check for check in declared.features)
    declared = replace(declared, features=checks)
    plan = compile_app(apps.load(str(flights.__file__)))
    return make_watch(plan, plan.models[declared.of.__name__], declared)


def new_outcome_watch() -> OutcomeWatch:
    """The watch over the outcomes of the flights' model, by `performance()` and `calibration()`."""
    declared = replace(flights.LateArrivalHealth.__monitors__, scores=(performance(), calibration()))
    plan = compile_app(apps.load(str(flights.__file__)))
    model = plan.models[declared.of.__name__]
    return OutcomeWatch(Lineage(model.name, tuple(model.outputs), {}), model.output, declared, DAY_US)
