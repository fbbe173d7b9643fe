"""The monitors beside their peers: ``make bench-monitors`` (``PARTS="faults speed"``, ``JSON=FILE``).

A part is a module of this folder with ``rows(quick) -> {name: [row, ...]}``; every row is a flat dict. It prints what it
found while it runs; the rows of all parts are written to the file asked for.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import Any

PARTS = ("faults", "sql", "streams", "speed")
MORE = ("references",)
"""Only where asked for."""
KEYS = ("faults", "clean", "streams", "speed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", choices=(*PARTS, *MORE), default=PARTS)
    parser.add_argument("--json", type=Path, default=None, help="where to write every row")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: to see that it works")
    options = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {key: [] for key in KEYS}
    for part in options.parts or PARTS:
        started = time.perf_counter()
        print(f"== {part}", flush=True)
        for key, rows in importlib.import_module(part).rows(options.quick).items():
            found.setdefault(key, []).extend(rows)
        print(f"== {part}: {time.perf_counter() - started:.0f} s\n", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
