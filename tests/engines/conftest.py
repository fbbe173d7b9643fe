"""The engines, one after the other."""

from __future__ import annotations

from typing import Any

import pytest
from engines import ENGINES


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Any:
    """A function from a log at rest to its vectors, and how far its floats may be off."""
    return ENGINES[request.param]
