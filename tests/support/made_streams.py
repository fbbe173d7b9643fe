"""A made-up airport for the monitors' tests: departures by day, silence at night, weather every hour with gaps."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.declared import Declared, Drift, Parity, Quality, Silence
from samestream.monitors.watch import IncidentRecord, Lineage, SourceSpec, Watch
from samestream.streams.models.profile import NumericProfile

HOUR = 3_600_000_000
DAY = 24 * HOUR
MINUTE = 60_000_000
START = 1_357_000_000_000_000 // DAY * DAY  # a midnight at the turn of 2012 to 2013

LINEAGE = Lineage(
    model="LateArrival",
    features=("carrier_delay", "departures", "temp"),
    sources={
        "carrier_delay": (("Departure", "dep_delay"),),
        "departures": (("Departure", ""),),
        "temp": (("Weather", "temp"),),
    },
)
SOURCES = (
    SourceSpec("Departure", ("dep_delay",), {"dep_delay": -120.0}, {"dep_delay": 2000.0}, 10 * MINUTE),
    SourceSpec("Weather", ("temp", "precip"), {"temp": -40.0, "precip": 0.0}, {"temp": 130.0}, 2 * HOUR),
)


class LateArrival:
    """Stands for a Model: the watch needs its declaration's values only."""


DECLARED = Declared(
    of=LateArrival,  # type: ignore[arg-type]
    alarms_per_week=1.0,
    features=(Parity(), Drift("1d"), Quality(), Silence("2h")),
    scores=(Drift("1d"),),
)


@dataclass(frozen=True)
class Stream:
    """Rows of one event type or of the vectors, by known time; a null is NaN."""

    known_us: npt.NDArray[np.int64]
    time_us: npt.NDArray[np.int64]
    columns: dict[str, npt.NDArray[np.float64]]

    def part(self, start: int, stop: int) -> "Stream":
        cut = slice(start, stop)
        return Stream(self.known_us[cut], self.time_us[cut], {name: v[cut] for name, v in self.columns.items()})

    def fields(self) -> dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]]:
        return {name: (np.nan_to_num(values), ~np.isnan(values)) for name, values in self.columns.items()}

    def ordered(self) -> "Stream":
        order = np.argsort(self.known_us, kind="stable")
        return Stream(self.known_us[order], self.time_us[order], {n: v[order] for n, v in self.columns.items()})


@dataclass(frozen=True)
class World:
    departures: Stream
    weather: Stream
    vectors: Stream
    scores: npt.NDArray[np.float64]
    models: tuple[tuple[str, int, dict[str, Any]], ...] = field(default=())

    @property
    def end_us(self) -> int:
        return int(max(s.known_us[-1] for s in (self.departures, self.weather, self.vectors)))


def calm_world(days: int, seed: int = 7, per_hour: int = 30) -> World:
    """Nothing is wrong: delays rise through the day, nights are silent for six hours, weather has gaps of two hours."""
    rng = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    awake = hours[(hours % 24 >= 5) & (hours % 24 < 23)]
    hour = np.repeat(awake, rng.poisson(per_hour, len(awake)))
    time = START + hour * HOUR + np.sort(rng.integers(0, HOUR, len(hour)))
    order = np.argsort(time, kind="stable")
    hour, time = hour[order], time[order]
    rough = rng.gamma(4, 0.25, days)[hour // 24]
    late = rng.random(len(hour)) < 0.25 * rough * (hour % 24) / 14
    delay = np.round(np.where(late, rng.exponential(45, len(hour)), rng.normal(-3, 4, len(hour)))).clip(-30, 900)
    known = time + rng.integers(5, 60, len(hour)) * 1_000_000
    departures = Stream(known, time, {"dep_delay": delay}).ordered()

    seen = np.repeat(hours[hours % 71 > 1], 3)  # every third day two hours in a row are missing
    season = 40 + 10 * np.sin(seen / 24 * 0.35) + 6 * np.sin((seen % 24 - 9) / 24 * 2 * np.pi)
    rain = np.where((seen // 30) % 5 == 0, np.round(rng.gamma(1, 0.05, len(seen)), 2), 0.0)
    weather = Stream(
        START + seen * HOUR + 50 * MINUTE,
        START + seen * HOUR,
        {"temp": np.round(season + rng.normal(0, 2, len(seen)), 2), "precip": rain},
    )
    vectors, scores = served(departures, weather, rng)
    return World(departures, weather, vectors, scores, trained(vectors, first_day=14, every=7, days=days))


def served(departures: Stream, weather: Stream, rng: np.random.Generator) -> tuple[Stream, npt.NDArray[np.float64]]:
    """A vector at every other departure: mean delay and count of the last three hours, last temperature within six."""
    known = departures.known_us[::2]
    delays = np.concatenate([[0.0], np.cumsum(departures.columns["dep_delay"])])
    stop = np.searchsorted(departures.known_us, known, side="left")
    start = np.searchsorted(departures.time_us, known - 3 * HOUR, side="left")
    start = np.minimum(start, stop)
    count = (stop - start).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (delays[stop] - delays[start]) / count
    place = np.searchsorted(weather.known_us, known, side="left") - 1
    fresh = (place >= 0) & (known - weather.known_us[np.maximum(place, 0)] < 6 * HOUR)
    temp = np.where(fresh, weather.columns["temp"][np.maximum(place, 0)], np.nan)
    vectors = Stream(known, known, {"carrier_delay": mean, "departures": count, "temp": temp})
    scores = 1 / (1 + np.exp(2 - np.nan_to_num(mean) / 15 + rng.normal(0, 0.2, len(known))))
    return vectors, scores


def trained(vectors: Stream, first_day: int, every: int, days: int) -> tuple[tuple[str, int, dict[str, Any]], ...]:
    """A model a week, each trained on all that was served before it."""
    models = []
    for day in range(first_day, days, every):
        before = vectors.part(0, int(np.searchsorted(vectors.known_us, START + day * DAY)))
        profiles = {n: NumericProfile.of(values, valid).to_json() for n, (values, valid) in before.fields().items()}
        models.append((f"v{day}", START + day * DAY, {"features": profiles, "from_us": START}))
    return tuple(models)


def struck(world: World, fault: str, at_us: int) -> World:
    """The same world with a fault at a source from an instant on; vectors and scores are served from what arrived."""
    departures, weather = world.departures, world.weather
    hit = departures.known_us >= at_us
    delay = departures.columns["dep_delay"]
    if fault == "unit":
        departures = replace(departures, columns={"dep_delay": np.where(hit, delay * 60, delay)})
    elif fault == "frozen":
        departures = replace(departures, columns={"dep_delay": np.where(hit, delay[np.argmax(hit) - 1], delay)})
    elif fault == "late":
        departures = replace(departures, known_us=departures.known_us + np.where(hit, 3 * HOUR, 0)).ordered()
    elif fault == "missing":
        weather = weather.part(0, int(np.searchsorted(weather.known_us, at_us)))
    elif fault == "bad":
        sentinel = hit & (np.arange(len(hit)) % 20 == 0)
        departures = replace(departures, columns={"dep_delay": np.where(sentinel, -999.0, delay)})
    vectors, scores = served(departures, weather, np.random.default_rng(11))
    return replace(world, departures=departures, weather=weather, vectors=vectors, scores=scores)


def watched(
    world: World,
    step_us: int = 5 * HOUR,
    declared: Declared = DECLARED,
    between_steps: Callable[[Watch], Watch] = lambda watch: watch,
) -> list[IncidentRecord]:
    """Everything the watch says, fed in steps of known time up to the last event."""
    watch = Watch(LINEAGE, SOURCES, declared)
    records: list[IncidentRecord] = []
    for version, applies_from_us, reference in world.models:
        watch.on_model(version, applies_from_us, reference)
    watch.model_clock(world.end_us)
    reached = START
    while reached < world.end_us:
        until = min(reached + step_us, world.end_us)
        for event, stream in (("Departure", world.departures), ("Weather", world.weather)):
            part = between(stream, reached, until)
            watch.on_events(event, part.known_us, part.time_us, part.fields())
        part = between(world.vectors, reached, until)
        watch.on_vectors(part.known_us, part.fields())
        start, stop = np.searchsorted(world.vectors.known_us, [reached, until])
        watch.on_scores(part.known_us, world.scores[start:stop])
        watch.source_clock(until)
        watch.vector_clock(until)
        watch.score_clock(until)
        records += watch.records()
        reached, watch = until, between_steps(watch)
    return records


def between(stream: Stream, from_us: int, until_us: int) -> Stream:
    start, stop = np.searchsorted(stream.known_us, [from_us, until_us])
    return stream.part(int(start), int(stop))
