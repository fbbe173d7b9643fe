"""Part *faults*: what the monitors say about a year of flights, clean and with faults.

So far the clean year only: every incident that the sources of the flights' model raise.
"""

from __future__ import annotations

from typing import Any

from flights_year import DAY_US, new_watch, year

from samestream.monitors.diagnosis import instant

WEEK_US = 7 * DAY_US


def rows(quick: bool) -> dict[str, list[dict[str, Any]]]:
    watch = new_watch()
    events = year()
    start_us = min(int(rows.known_us[0]) for rows in events.values())
    end_us = start_us + (90 if quick else 365) * DAY_US
    for name, rows in events.items():
        part = rows.between(start_us, end_us)
        watch.on_events(name, part.known_us, part.time_us, part.fields, part.keys, part.partitions)
    watch.source_clock(end_us)
    opened = [record for record in watch.records() if record.event == "open"]
    for record in opened:
        print(instant(record.at_us), record.verdict, record.cause)
    weeks = (end_us - start_us) / WEEK_US
    return {"clean": [{"system": "samestream", "data": "sources", "incidents_per_week": len(opened) / weeks}]}
