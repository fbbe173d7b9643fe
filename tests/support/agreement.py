"""How many edge values every operation was held against, by engine; told by the tests, printed at the end of the run."""

from __future__ import annotations

from collections import Counter

ENGINES = ("numpy", "duckdb", "spark")
TITLE = "operation x engine: values that agree with the oracle / tried"

AGREED: Counter[tuple[str, str]] = Counter()
TRIED: Counter[tuple[str, str]] = Counter()


def note(operation: type, engine: str, wrong: int, tried: int) -> None:
    AGREED[operation.__name__, engine] += tried - wrong
    TRIED[operation.__name__, engine] += tried


def lines() -> list[str]:
    """A row for every operation that was tried; an engine that did not run has no column."""
    ran = [engine for engine in ENGINES if any(where == engine for _, where in TRIED)]
    found = [f"{'operation':<18}" + "".join(f"{engine:>18}" for engine in ran)]
    for name in sorted({name for name, _ in TRIED}):
        cells = (f"{AGREED[name, engine]}/{TRIED[name, engine]}" for engine in ran)
        found.append(f"{name:<18}" + "".join(f"{cell:>18}" for cell in cells))
    return found
