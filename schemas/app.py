"""An app: all that one Python module declares, and the names of its topics."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from samestream.schemas.errors import DeclarationError
from samestream.schemas.events import Event
from samestream.schemas.features import Features
from samestream.schemas.models import Model


@dataclass(frozen=True)
class App:
    """The declarations of one module; ``name`` prefixes every topic that samestream writes."""

    name: str
    events: dict[str, type[Event]]
    features: dict[str, type[Features]]
    models: dict[str, type[Model]]
    monitors: dict[str, Any]

    @property
    def journal(self) -> str:
        """The topic of committed micro-batches."""
        return f"{self.name}.journal"

    @property
    def schemas(self) -> str:
        """The compacted topic of Avro schemas."""
        return f"{self.name}.schemas"

    @property
    def registry(self) -> str:
        """The compacted topic that says which artifact fills which slot."""
        return f"{self.name}.models"

    @property
    def drift(self) -> str:
        """The topic of incidents."""
        return f"{self.name}.drift"

    def features_topic(self, model: str) -> str:
        """The topic of a model's feature vectors."""
        return f"{self.name}.features.{model}"

    def predictions_topic(self, model: str) -> str:
        """The topic of a model's scores."""
        return f"{self.name}.predictions.{model}"

    def outcomes_topic(self, model: str) -> str:
        """The topic of predictions joined with labels."""
        return f"{self.name}.outcomes.{model}"


def load(reference: str) -> App:
    """The app declared in a file (``examples/flights.py``) or module (``shop.models``).

    Raises DeclarationError when there is no such module, when it fails to import, or when it declares no model.
    """
    module = _import(reference)
    name = getattr(module, "app", None) or module.__name__.rpartition(".")[2]
    declared = [value for value in vars(module).values() if isinstance(value, type)]
    events = {cls.__name__: cls for cls in declared if issubclass(cls, Event) and cls is not Event}
    features = {cls.__name__: cls for cls in declared if issubclass(cls, Features) and cls is not Features}
    models = {cls.__name__: cls for cls in declared if issubclass(cls, Model) and cls is not Model}
    monitors = {
        cls.__name__: cls for cls in declared if hasattr(cls, "__monitors__") and cls.__module__ == module.__name__
    }
    if not models:
        raise DeclarationError(
            "the module declares no model",
            where=reference,
            found=", ".join(events) or "no events",
            hint="add a class that derives from Model.",
        )
    topics: dict[str, str] = {}
    for event in events.values():
        if topics.setdefault(event.topic, event.__name__) != event.__name__:
            raise DeclarationError(
                "two events share one topic",
                where=event.topic,
                found=f"{topics[event.topic]} and {event.__name__}",
                hint="give each event its own topic.",
            )
    return App(str(name), events, features, models, monitors)


def _import(reference: str) -> ModuleType:
    path = Path(reference)
    if path.suffix != ".py":
        try:
            return importlib.import_module(reference)
        except ModuleNotFoundError as error:
            if error.name and not reference.startswith(error.name):
                raise
            raise DeclarationError(
                "no such module",
                where=reference,
                found=str(error),
                hint="give a file (examples/flights.py) or an importable module.",
            ) from error
    if not path.is_file():
        raise DeclarationError(
            "no such file", where=reference, hint="give the path of the module that declares your app."
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module
