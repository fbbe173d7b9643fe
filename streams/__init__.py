"""How values move. What applications use of it: `Producer` and `AsyncProducer`, `Predictions`, `Drift`.

They are loaded when they are asked for: a processor needs no consumer, and an application no engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samestream.streams.clients.drift import Drift, Incident
    from samestream.streams.clients.predictions import Prediction, Predictions
    from samestream.streams.clients.producer import AsyncProducer, LostEvent, Producer

_HOMES = {
    "AsyncProducer": "clients.producer",
    "Drift": "clients.drift",
    "Incident": "clients.drift",
    "LostEvent": "clients.producer",
    "Prediction": "clients.predictions",
    "Predictions": "clients.predictions",
    "Producer": "clients.producer",
}

__all__ = ["AsyncProducer", "Drift", "Incident", "LostEvent", "Prediction", "Predictions", "Producer"]


if not TYPE_CHECKING:  # else a type checker would believe in any name

    def __getattr__(name: str) -> Any:
        """Load a public name from its file."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
