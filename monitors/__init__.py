"""Topics to drift: what is compared all the time, and what an alarm means. Declaring loads no numpy."""

from samestream.monitors.declared import Monitors, calibration, drift, parity, performance, profiles, quality, silence

__all__ = ["Monitors", "calibration", "drift", "parity", "performance", "profiles", "quality", "silence"]
