"""Up to which known time the sources have been read: told by their events, and where the log is live by pulses, too.

An event says that all before it has come. Where no events come nobody says so, and a silence of everything would be told only
once it is over. A pulse says how late it is (`streams.engine.pulse`). It counts where the log is *live*, which is judged by the
log alone: what the sources said was known within an hour of the pulse before it, or after it. So pulses of today mean nothing
to a history that is replayed today, or to yesterday's backlog, and whoever reads the same order again finds the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from samestream.monitors.incidents import HOUR_US, MINUTE_US

LIVE_US = HOUR_US
"""How far from a pulse the latest event may be known for the log to be live."""
ON_THE_WAY_US = MINUTE_US
"""What was known so shortly before a pulse may still be on its way: stamped by an application, not yet delivered."""
_NEVER_US = int(np.iinfo(np.int64).min)


class SourceClock:
    """The clock of all sources of a model; it never goes back.

    known_us : known time in microseconds UTC, the least integer before anything was read.
    """

    def __init__(self) -> None:
        self.known_us = _NEVER_US
        self._event_us = _NEVER_US  # the latest known of any event
        self._pulse_us = _NEVER_US  # the latest pulse
        self._is_live = False

    def read(self, known_us: npt.NDArray[np.int64], is_pulse: npt.NDArray[np.bool_]) -> None:
        """Take events of sources, and pulses, in merged order. known_us, is_pulse : shape (n,)."""
        start = 0
        for place in np.flatnonzero(is_pulse).tolist():
            self._take_events(known_us[start:place])
            self._take_pulse(int(known_us[place]))
            start = place + 1
        self._take_events(known_us[start:])

    def _take_events(self, known_us: npt.NDArray[np.int64]) -> None:
        """Events between two pulses, none or more."""
        if len(known_us):
            self._event_us = max(self._event_us, int(known_us.max()))
            self.known_us = max(self.known_us, self._event_us)
            self._is_live = self._is_near()

    def _take_pulse(self, known_us: int) -> None:
        self._pulse_us = max(self._pulse_us, known_us)
        self._is_live = self._is_live or self._is_near()
        if self._is_live:
            self.known_us = max(self.known_us, self._pulse_us - ON_THE_WAY_US)

    def _is_near(self) -> bool:
        is_known = self._event_us > _NEVER_US and self._pulse_us > _NEVER_US
        return is_known and abs(self._event_us - self._pulse_us) <= LIVE_US
