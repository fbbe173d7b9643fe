"""Weather may go anywhere within the hour, and at all stations at once: that is a front, and no other unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from made_streams import DAY, HOUR, MINUTE, START

from samestream.monitors.incidents import Finding
from samestream.monitors.source_spec import SourceSpec
from samestream.monitors.sources import SourceFamily, SourceWatch

STATIONS = ("EWR", "JFK", "LGA")
DAYS, STRUCK = 30, 26 * 24 + 9
KNOT = 1.15078

Floats = npt.NDArray[np.float64]


def wind(seed: int) -> Floats:
    """Miles an hour, in whole knots, of each station by the hour, shape (hours, stations): from hour to hour much the same."""
    draw = np.random.default_rng(seed)
    hours = DAYS * 24
    knots = np.zeros((hours, len(STATIONS)))
    level = np.zeros(len(STATIONS))
    for hour in range(hours):
        level = 0.97 * level + draw.normal(0, 0.2) + draw.normal(0, 0.15, len(STATIONS))
        knots[hour] = np.round(9 * np.exp(0.5 * level))
    return knots * KNOT


def told(values: Floats) -> dict[str, int]:
    """The first instant, in hours, at which each verdict was told from the hour of the fault on."""
    hours = np.repeat(np.arange(len(values)), len(STATIONS))
    known = START + hours * HOUR + 50 * MINUTE + np.tile([0, 20, 40], len(values)) * 1_000_000
    spec = SourceSpec("Weather", ("wind",), {"wind": 0.0}, {}, 0, units={"wind": "mph"})
    watch = SourceWatch(spec, silence_us=None, quality=True)
    family = SourceFamily({"Weather": watch}, 0.5)
    fields = {"wind": (values.ravel(), np.ones(values.size, np.bool_))}
    watch.add(known, known - 50 * MINUTE, fields, list(STATIONS) * len(values), np.zeros(values.size, np.int64))
    found: dict[str, int] = {}

    def observe(cause: str, findings: Sequence[Finding], at_us: int) -> bool:
        for one in findings:
            if at_us > START + STRUCK * HOUR:
                found.setdefault(one.verdict, (at_us - START) // HOUR - STRUCK)
        return bool(findings)

    family.advance(START + DAYS * DAY, observe)
    assert family.limits is not None
    return found


@pytest.mark.parametrize("seed", range(6))
def test_a_storm_that_is_over_within_the_hour_is_no_other_unit(seed: int) -> None:
    values = wind(seed)
    values[STRUCK - 8 : STRUCK] += np.linspace(3, 24, 8)[:, None].round() * KNOT
    assert "unit" not in told(values)


@pytest.mark.parametrize("seed", range(6))
def test_another_unit_is_told_in_spite_of_it(seed: int) -> None:
    values = wind(seed)
    values[STRUCK:] *= 0.44704
    assert told(values)["unit"] <= 24
