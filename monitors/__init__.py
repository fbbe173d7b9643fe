"""Topics to drift: what is compared all the time, and what an alarm means. Declaring loads no numpy."""

from samestream.monitors.declared import Monitors, drift, parity, profiles, quality, silence

__all__ = ["Monitors", "drift", "parity", "profiles", "quality", "silence"]
