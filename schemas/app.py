"""An app: all that one Python module declares, and the names of its topics."""

from __future__ import annotations

import builtins
import difflib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, TypeVar

from samestream.schemas.errors import DeclarationError, SamestreamError, SettingsError
from samestream.schemas.events import Event
from samestream.schemas.expressions import Expr
from samestream.schemas.features import Features
from samestream.schemas.models import Model
from samestream.schemas.references import tables_of, views_of

C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class App:
    """The declarations of one module, as deployed in one namespace.

    namespace : prefixes every topic, group and identity of this deployment (``dev.flights.boarding``); "" for production
    Raises SettingsError for a namespace that cannot stand in a topic's name.
    """

    name: str
    events: dict[str, type[Event]]
    features: dict[str, type[Features]]
    models: dict[str, type[Model]]
    monitors: dict[str, Any]
    namespace: str = ""

    def __post_init__(self) -> None:
        if self.namespace and not re.fullmatch(r"[A-Za-z0-9_-]{1,60}", self.namespace):
            raise SettingsError(
                "this is no namespace",
                where="namespace",
                found=repr(self.namespace),
                expected="letters, digits, dashes, underscores, at most 60",
                hint="--namespace dev; leave it out for production.",
            )

    @property
    def prefix(self) -> str:
        """What the names of all topics that samestream writes, of its groups and of its identities begin with."""
        return self.within(self.name)

    def within(self, name: str) -> str:
        """A name in the namespace of this deployment."""
        return f"{self.namespace}.{name}" if self.namespace else name

    def topic(self, event: type[Event]) -> str:
        """The topic of an event in this deployment."""
        return self.within(event.topic)

    @property
    def journal(self) -> str:
        """The topic of committed micro-batches."""
        return f"{self.prefix}.journal"

    @property
    def schemas(self) -> str:
        """The compacted topic of Avro schemas."""
        return f"{self.prefix}.schemas"

    @property
    def registry(self) -> str:
        """The compacted topic that says which artifact fills which slot."""
        return f"{self.prefix}.models"

    @property
    def drift(self) -> str:
        """The topic of incidents."""
        return f"{self.prefix}.drift"

    def features_topic(self, model: str) -> str:
        """The topic of a model's feature vectors."""
        return f"{self.prefix}.features.{model}"

    def predictions_topic(self, model: str) -> str:
        """The topic of a model's scores."""
        return f"{self.prefix}.predictions.{model}"

    def outcomes_topic(self, model: str) -> str:
        """The topic of predictions joined with labels."""
        return f"{self.prefix}.outcomes.{model}"


def load(reference: str, namespace: str = "") -> App:
    """The app declared in a file (``examples/flights.py``) or module (``shop.models``), as deployed in a namespace.

    Its events and views are those that the module names, and those that its models are made of.
    Raises DeclarationError when there is no such module, when it fails to import, naming the line, when it declares no
    model, or when two of its classes have one name.
    """
    app = app_of(_import(reference), namespace=namespace)
    if not app.models:
        raise DeclarationError(
            "the module declares no model",
            where=reference,
            found=", ".join(app.events) or "no events",
            expected="at least one class that derives from Model",
            hint='add it: class LateArrival(Model, on=Boarding, trainer=gradient_boosting(every="1d", history="30d")).',
        )
    return app


def app_of(declared: App | ModuleType | str | Iterable[type], name: str = "", namespace: str = "") -> App:
    """The app that a module declares, given as such, by name or by path; or the app that some classes make up.

    name : of the app; by default the module's. Classes alone have none. An app given as such keeps name and namespace.
    Raises DeclarationError as `load` does, though a module without a model will do here.
    """
    if isinstance(declared, App):
        return declared
    if isinstance(declared, str):
        declared = _import(declared)
    if isinstance(declared, ModuleType):
        name = name or str(getattr(declared, "app", None) or declared.__name__.rpartition(".")[2])
        classes = [value for value in vars(declared).values() if isinstance(value, type)]
        monitors = [cls for cls in classes if hasattr(cls, "__monitors__") and cls.__module__ == declared.__name__]
    else:
        classes = [declared] if isinstance(declared, type) else list(declared)
        monitors = [cls for cls in classes if hasattr(cls, "__monitors__")]
    if not name:
        raise DeclarationError(
            "these classes do not say which app they belong to",
            where=", ".join(cls.__name__ for cls in classes) or "no class",
            found="no name",
            expected="the name of the app, beside its classes",
            hint='name it (name="flights"), or pass the module that declares them.',
        )
    models = [cls for cls in classes if issubclass(cls, Model) and cls is not Model]
    models += [cls.__monitors__.of for cls in monitors]  # pyright: ignore[reportAttributeAccessIssue]
    views = [cls for cls in classes if issubclass(cls, Features) and cls is not Features]
    views += [view for model in models for view in views_of(model)]
    events = [cls for cls in classes if issubclass(cls, Event) and hasattr(cls, "topic")]
    events += [event for model in models for event in (model.on, model.outcome.event)]
    events += [view.event for view in views]
    events += tables_of(models, views)
    app = App(name, _named(events), _named(views), _named(models), _named(monitors), namespace)
    topics: dict[str, str] = {}
    for event in app.events.values():
        if topics.setdefault(event.topic, event.__name__) != event.__name__:
            raise DeclarationError(
                "two events share one topic",
                where=event.topic,
                found=f"{topics[event.topic]} and {event.__name__}",
                hint="give each event its own topic.",
            )
    watched: dict[str, str] = {}
    for cls in monitors:
        model = cls.__monitors__.of.__name__  # pyright: ignore[reportAttributeAccessIssue]
        if watched.setdefault(model, cls.__name__) != cls.__name__:
            raise DeclarationError(
                "one model is watched twice",
                where=model,
                found=f"{watched[model]} and {cls.__name__}",
                hint="put all checks of a model into one class: they share its alarm budget.",
            )
    return app


def _named(classes: Iterable[C]) -> dict[str, C]:
    """Classes by the name they were declared under, each once. Raises DeclarationError where two have the same."""
    found: dict[str, C] = {}
    for cls in classes:
        other = found.setdefault(cls.__name__, cls)
        if other is not cls:
            raise DeclarationError(
                "two classes have one name",
                where=cls.__name__,
                found=f"one in {other.__module__}, another in {cls.__module__}",
                hint="rename one of them: names stand for classes in schemas and topics.",
            )
    return found


def _import(reference: str) -> ModuleType:
    path = Path(reference)
    if path.suffix != ".py":
        try:
            return importlib.import_module(reference)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{reference}.".startswith(f"{error.name}."):
                _tell(error, reference)
            raise DeclarationError(
                "no such module",
                where=reference,
                found=str(error),
                hint="give a file (examples/flights.py) or an importable module.",
            ) from error
        except Exception as error:
            _tell(error, reference)
    if not path.is_file():
        raise DeclarationError(
            "no such file",
            where=reference,
            found=f"no file of this name in {path.absolute().parent}",
            expected="the Python file that declares your app",
            hint="give its path from where you are, or an importable module (shop.models).",
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    if (folder := str(path.absolute().parent)) not in sys.path:
        sys.path.append(folder)  # at the end: the files beside it can be imported, and hide nothing
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[path.stem]
        if isinstance(error, Exception):
            _tell(error, reference)
        raise
    return module


_PLAIN_WORDS: tuple[tuple[type[Exception], str, str], ...] = (
    (SyntaxError, "this is not valid Python", "correct the line."),
    (AttributeError, "there is no such attribute", "check the spelling."),
    (NameError, "a name means nothing here", "check the spelling, or import it."),
    (ImportError, "an import fails", "install what is missing, or check the spelling."),
    (TypeError, "a value is of the wrong type here", "compare the line with the examples."),
    (Exception, "the module fails while it is imported", "`samestream --debug` shows the trace."),
)


def _tell(error: Exception, reference: str) -> NoReturn:
    """Raise what went wrong in a module as a DeclarationError that names the line; other errors of ours as they are."""
    line, names = _place(error, reference)
    if isinstance(error, SamestreamError):
        if not isinstance(error, DeclarationError) or not line or " line " in error.where:
            raise error
        where = f"{error.where}, {line}" if error.where else line
        raise DeclarationError(
            error.what, where=where, found=error.found, expected=error.expected, hint=error.hint
        ) from error
    what, hint = next((what, hint) for kind, what, hint in _PLAIN_WORDS if isinstance(error, kind))
    expected = None
    if isinstance(error, AttributeError):
        names = [name for name in dir(error.obj) if not name.startswith("_")]
        if isinstance(error.obj, type) and (
            own := [
                name
                for name, value in vars(error.obj).items()
                if isinstance(value, Expr) and name not in Event.__annotations__
            ]
        ):
            names, what, expected = own, f"{error.obj.__name__} declares no such name", ", ".join(own)
    wanted = error.name if isinstance(error, (AttributeError, NameError)) else None
    if near := difflib.get_close_matches(wanted or "", names, n=1):
        hint = f"did you mean `{near[0]}`?"
    found = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
    raise DeclarationError(what, where=line or reference, found=found, expected=expected, hint=hint) from error


def _place(error: Exception, reference: str) -> tuple[str, list[str]]:
    """Where in the module, or in a file beside it, an import failed, and the names known there; nothing if elsewhere."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)} line {error.lineno}", []
    frames = list(traceback.walk_tb(error.__traceback__))
    if reference.endswith(".py"):
        folders = {Path(reference).absolute().parent}
    else:
        own = [frame for frame, _ in frames if f"{reference}.".startswith(f"{frame.f_globals.get('__name__')}.")]
        folders = {Path(frame.f_code.co_filename).parent for frame in own}
    for frame, line in reversed(frames):
        if Path(frame.f_code.co_filename).parent in folders:
            known = [*frame.f_locals, *frame.f_globals, *dir(builtins)]
            return f"{_shown(frame.f_code.co_filename)} line {line}", known
    return "", []


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
