"""Prints the grids at the end of the run, so that whoever reads it sees what was held against what."""

from __future__ import annotations

from typing import Any

import agreement
import pytest

GRIDS = pytest.StashKey[dict[str, list[str]]]()


@pytest.fixture(scope="session")
def grids(pytestconfig: pytest.Config) -> dict[str, list[str]]:
    """Lines to print at the end, by title."""
    return pytestconfig.stash.setdefault(GRIDS, {})


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print them."""
    expressions = {agreement.TITLE: agreement.lines()} if agreement.TRIED else {}
    for title, lines in {**config.stash.get(GRIDS, {}), **expressions}.items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
