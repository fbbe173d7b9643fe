"""Other ways to watch the same columns, each made as calm on the clean year as ours was, then shown the same faults.

==================  =================================================================================================
Evidently           its own default test of a column, day against the 28 days before; run in its own environment
NannyML-style       Jensen-Shannon distance, null share and row count of a day beyond mean + k standard deviations of the
                    56 days before (the method, written here)
daily KS            Kolmogorov and Smirnov's p-value of a day against the 28 days before; of texts, that of chi-square
ADWIN, PageHinkley  river's detectors on every value, standardised; a text counts as how rare it is
KSWIN               river's detector on means by the hour, for it takes half a thousandth of a second a value
==================  =================================================================================================

A parameter is the most sensitive one that, on the year without faults, opens no more incidents than ours, in sight of that very
year: they are told more than ours was. Alarms of one source on days in a row are one incident. They have no verdicts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import speed
from day_peers import Evidently, daily_ks, nannyml_style
from peer_year import Year
from river import drift
from value_peers import StreamPeer


def peers(year: Year, folder: Path, quick: bool) -> tuple[list[Any], dict[str, str]]:
    """Those that run here, and why others do not."""
    found: list[Any] = [daily_ks(year), nannyml_style(year)]
    absent = {}
    found.append(
        StreamPeer("ADWIN", year, (1e-6, 1e-12, 1e-24, 1e-48, 1e-96, 1e-192, 1e-300), lambda p: drift.ADWIN(delta=p))
    )
    found.append(StreamPeer("PageHinkley", year, (100, 300, 1000, 3000, 10000, 30000), _page_hinkley))
    reason = speed._installed("evidently")
    if reason:
        absent["Evidently"] = reason
    else:
        try:
            found.append(Evidently(year, folder))
        except RuntimeError as error:
            absent["Evidently"] = str(error)
    if not quick:
        found.append(StreamPeer("KSWIN", year, (1e-9, 1e-12, 1e-13), _kswin, by_hour=True))
    return found, absent


def _page_hinkley(threshold: float) -> Any:
    return drift.PageHinkley(threshold=threshold, delta=0.1, alpha=1.0, mode="both")


def _kswin(alpha: float) -> Any:
    return drift.KSWIN(alpha=alpha, window_size=168, stat_size=24, seed=1)
