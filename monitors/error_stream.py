"""River's error-stream detectors, by one interface, each with one parameter that says how ready it is to alarm.

Their defaults alarm far too often on some streams and never on others; here the parameter is chosen on history
(`calibrated`), so that on it no more alarms come than the budget allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from river import drift

Floats = npt.NDArray[np.float64]

_MAKERS: Mapping[str, tuple[Callable[[float], Any], Sequence[float]]] = {
    # from the most to the least ready to alarm
    "adwin": (
        lambda delta: drift.ADWIN(delta=delta),
        (0.2, 0.05, 0.01, 2e-3, 5e-4, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10, 1e-14, 1e-20),
    ),
    "page_hinkley": (
        lambda threshold: drift.PageHinkley(threshold=threshold, delta=0.01, min_instances=30, mode="up"),
        (5, 10, 15, 20, 30, 40, 60, 80, 120, 200, 400, 1000),
    ),
    "kswin": (
        lambda alpha: drift.KSWIN(alpha=alpha, window_size=200, stat_size=60, seed=1),
        (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-9, 1e-12),
    ),
    "ddm": (
        lambda threshold: drift.binary.DDM(warm_start=100, drift_threshold=threshold),
        (2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 8.0),
    ),
}
NAMES = tuple(_MAKERS)
BINARY_ONLY = frozenset({"ddm"})


class RiverDetector:
    """One detector at one parameter; it begins anew after each alarm."""

    def __init__(self, name: str, parameter: float) -> None:
        self.name, self.parameter = name, parameter
        self._make = _MAKERS[name][0]
        self._detector = self._make(parameter)

    def alarms(self, errors: Floats) -> list[int]:
        """The places of the errors after which it alarmed."""
        found = []
        for place, error in enumerate(errors.tolist()):
            self._detector.update(error)
            if self._detector.drift_detected:
                found.append(place)
                self._detector = self._make(self.parameter)
        return found


def parameters(name: str) -> Sequence[float]:
    """The parameters a detector is calibrated over, from the most to the least ready to alarm."""
    return _MAKERS[name][1]


def calibrated(name: str, history: Sequence[Floats], alarms: int) -> RiverDetector | None:
    """The detector at the readiest parameter at which it alarms at most so often on the streams of a history.

    None if even the least ready one alarms more often. The next less ready parameters must keep to it too: an alarm
    more or less by chance does not decide.
    """
    chosen: float | None = None
    for parameter in reversed(parameters(name)):
        found = sum(len(RiverDetector(name, parameter).alarms(part)) for part in history)
        if found > alarms:
            break
        chosen = parameter
    return None if chosen is None else RiverDetector(name, chosen)
