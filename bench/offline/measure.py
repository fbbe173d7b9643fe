"""How one system did at one task: run in a process of its own, so that its memory is its own. Needs nothing but Python."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any


def measured(rows: int, work: Callable[[], Any]) -> Any:
    """Do the work, print a line of JSON that the benchmark reads, and return what it made."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    found = work()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    with open("/proc/self/status") as status:  # unlike ru_maxrss, not what its parent ever held
        peak_mb = int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024
    told = {"rows_per_s": rows / wall_s, "cpu_s_per_million": cpu_s * 1e6 / rows, "peak_mb": peak_mb}
    print(json.dumps(told), file=sys.stdout, flush=True)
    return found
