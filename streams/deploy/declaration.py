"""The declaration as a value: every part of an app by its meaning, so that two can be compared and one be kept.

`apply` writes it to the app's schemas topic, one record per version; `diff` compares two (`streams.deploy.changes`).

A part has a *digest* of its meaning, *words* that tell the meaning to people, an *about* that changes no value (unit,
range, doc), and the parts it *reads*. Its version counts how often its meaning has changed since it was first applied.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from samestream.schemas import durations, records
from samestream.schemas.about import About, about_class
from samestream.schemas.aggregates import Windowed
from samestream.schemas.app import App
from samestream.schemas.avro import Codec, Schema
from samestream.schemas.avro_schemas import field_schemas
from samestream.schemas.events import Event, Field
from samestream.schemas.expressions import Expr
from samestream.schemas.features import FeatureRef
from samestream.schemas.models import Model
from samestream.schemas.tables import AsOf, Table
from samestream.streams.plan import KERNEL_VERSION, Plan
from samestream.streams.transport import NOW, Outgoing, Transport, send_all

_CODEC = Codec(records.DECLARATION)


@dataclass(frozen=True)
class Part:
    """One part of a declaration.

    kind : event, table, field, view, feature, model, input, label, trainer or monitor
    reads : names of the parts that its values are computed from
    reach_us : how far back its longest window sees, tile included; 0 where it has none
    """

    kind: str
    digest: str
    words: Mapping[str, str]
    about: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    reach_us: int = 0
    version: int = 1


@dataclass(frozen=True)
class Declaration:
    """What an app declares, part by part, by name (``OriginNow.mean_delay_1h``).

    version : 0 before it is recorded
    engine : kernel version and processor architecture, within which values are equal to the last bit
    models : the fingerprint of each model's vectors
    topics : by event, and by model and kind of output (``LateArrival.features``)
    schemas : Avro, by event, and by model for its vectors
    """

    app: str
    fingerprint: str
    engine: str
    models: Mapping[str, str]
    parts: Mapping[str, Part]
    topics: Mapping[str, str]
    schemas: Mapping[str, Schema]
    version: int = 0

    def touched_by(self, name: str) -> list[str]:
        """The names of all parts that read a part, directly or through others, in order of declaration."""
        found = {name}
        grown = True
        while grown:
            more = {other for other, part in self.parts.items() if found.intersection(part.reads)}
            grown = not more <= found
            found |= more
        return [other for other in self.parts if other in found and other != name]

    def following(self, before: Declaration | None) -> Declaration:
        """The same, numbered as what comes after another: parts that mean the same keep their version."""
        old = before.parts if before else {}
        numbered = {}
        for name, part in self.parts.items():
            last = old.get(name)
            version = 1 if last is None else last.version + (last.digest != part.digest)
            numbered[name] = replace(part, version=version)
        return replace(self, parts=numbered, version=1 if before is None else before.version + 1)

    def same_as(self, other: Declaration) -> bool:
        """Whether nothing at all differs, not even a description; versions aside."""
        return bool(_unnumbered(self) == _unnumbered(other))


def declare(app: App, plan: Plan) -> Declaration:
    """The declaration of an app. Names are those of the module, not of the namespace."""
    parts = dict(_parts(app))
    topics = {name: event.topic for name, event in app.events.items()}
    for name, model in plan.models.items():
        topics |= {f"{name}.{kind}": topic.removeprefix(app.within("")) for kind, topic in model.topics.items()}
    schemas = {name: input.schema for name, input in plan.events.items()}
    schemas |= {name: model.vector_schema for name, model in plan.models.items()}
    engine = f"kernel {KERNEL_VERSION} on {platform.machine()}"
    models = {name: model.fingerprint for name, model in plan.models.items()}
    return Declaration(app.name, plan.fingerprint, engine, models, parts, topics, schemas)


def to_json(declaration: Declaration) -> str:
    """As text; see `from_json`."""
    return json.dumps(asdict(declaration), sort_keys=False)


def from_json(text: str) -> Declaration:
    """The declaration that `to_json` wrote; what a later release added is passed over."""
    found = _known(Declaration, json.loads(text))
    parts = {name: Part(**_known(Part, part)) for name, part in found.pop("parts").items()}
    parts = {name: replace(part, reads=tuple(part.reads)) for name, part in parts.items()}
    return Declaration(parts=parts, **found)


def record(transport: Transport, topic: str, declaration: Declaration) -> None:
    """Write a numbered declaration to the app's schemas topic, where every version stays."""
    value = {
        "app": declaration.app,
        "version": declaration.version,
        "fingerprint": declaration.fingerprint,
        "declaration": to_json(declaration),
    }
    key = f"declaration/{declaration.version}".encode()
    send_all(transport, [Outgoing(topic, key, _CODEC.encode(value), NOW)])


def recorded(transport: Transport, topic: str) -> list[Declaration]:
    """Every declaration applied so far, oldest first; none where the topic does not exist."""
    if topic not in transport.topics():
        return []
    values = [value for fetched in transport.read_all(topic) for value in fetched.values]
    mine = [_CODEC.decode(value) for value in values if value is not None and value.startswith(_CODEC.header)]
    return sorted((from_json(value["declaration"]) for value in mine), key=lambda found: found.version)


def _unnumbered(declaration: Declaration) -> Any:
    bare = declaration.following(None)
    parts = {name: replace(part, version=0) for name, part in bare.parts.items()}
    return json.loads(to_json(replace(bare, parts=parts)))


def _known(cls: type, found: Mapping[str, Any]) -> dict[str, Any]:
    names = {part.name for part in fields(cls)}
    return {name: value for name, value in found.items() if name in names}


def _parts(app: App) -> Iterator[tuple[str, Part]]:
    for name, event in app.events.items():
        yield name, _event(event)
        described = field_schemas(event)
        for field_name, declared in event.fields.items():
            yield f"{name}.{field_name}", _field(described[field_name], declared)
    for name, view in app.features.items():
        by = ", ".join(map(repr, view.by))
        yield name, Part("view", _digest(by), {"by": by}, _about(view))
        for feature_name, feature in view.features.items():
            yield f"{name}.{feature_name}", _feature(feature)
    for name, model in app.models.items():
        yield from _model(name, model)
    for name, watched in app.monitors.items():
        words = _words(watched.__monitors__)
        yield name, Part("monitor", _digest(words), words, _about(watched), (watched.__monitors__.of.__name__,))


def _event(event: type[Event]) -> Part:
    words = {"topic": event.topic, "key": event.key_field.name}
    if (time := event.time_field) is not None:
        words |= {
            "event time": time.name,
            "earliest": f"{time.low:.0f} s since 1970",
            "latest": f"{time.high:.0f} s since 1970",
        }
    if issubclass(event, Table):
        return Part("table", _digest(words), words, _about(event))
    words |= {
        "lateness": durations.text(event.lateness_us),
        "alignment": durations.text(event.alignment_us),
        "ahead": durations.text(event.ahead_us),
    }
    return Part("event", _digest(words), words, _about(event))


def _field(described: Mapping[str, Any], declared: Field[Any]) -> Part:
    words = {"type": _type_text(described["type"])}
    if "default" in described:
        words["default"] = json.dumps(described["default"])
    about = _about(declared)
    return Part("field", _digest(described["type"], words), words, about, (declared.event.__name__,))


def _feature(feature: FeatureRef) -> Part:
    value = feature.expression
    windows = [leaf for leaf in value.leaves() if isinstance(leaf, Windowed)]
    words = {"is": repr(value), "by": ", ".join(map(repr, feature.view.by)), "kind": value.kind.value}
    return Part(
        "feature",
        _digest(feature.meaning()),
        words,
        _about(feature),
        tuple(dict.fromkeys([*(part for by in feature.view.by for part in _reads(by)), *_reads(value)])),
        max((leaf.window.reach_us for leaf in windows), default=0),
    )


def _model(name: str, model: type[Model]) -> Iterator[tuple[str, Part]]:
    inputs = tuple(f"{name}.{part}" for part in model.inputs)
    words = {"on": model.on.__name__}
    yield name, Part("model", _digest(words), words, _about(model), (model.on.__name__, *inputs))
    for part, value in model.inputs.items():
        words = {"is": repr(value), "kind": value.kind.value}
        yield f"{name}.{part}", Part("input", _digest(value.meaning()), words, _about(value), _reads(value))
    outcome = model.outcome
    words = {"is": repr(outcome.value), "by": repr(outcome.by), "within": durations.text(outcome.within_us)}
    reads = tuple(dict.fromkeys([*_reads(outcome.value), repr(outcome.by)]))
    yield f"{name}.{model.outcome_name}", Part("label", _digest(outcome.meaning()), words, {}, reads)
    words = _words(model.trainer)
    yield f"{name} trainer", Part("trainer", _digest(words), words)


def _reads(value: Expr[Any]) -> tuple[str, ...]:
    """The parts an expression is computed from: features, fields, and events of which rows are counted."""
    found: dict[str, None] = {}
    for leaf in value.leaves():
        if isinstance(leaf, Windowed):
            inside = [part for part in (leaf.aggregate.input, leaf.where) if part is not None]
            found[leaf.event.__name__] = None
            for part in inside:
                found |= dict.fromkeys(_reads(part))
        elif isinstance(leaf, FeatureRef):
            found[f"{leaf.view.__name__}.{leaf.name}"] = None
            found |= dict.fromkeys(part for by in leaf.by or () for part in _reads(by))
        elif isinstance(leaf, AsOf):
            found[repr(leaf.field)] = None
            found |= dict.fromkeys(_reads(leaf.by))
        elif isinstance(leaf, Field):
            found[repr(leaf)] = None
    return tuple(found)


def _words(declared: Any, but_defaults: bool = False) -> dict[str, str]:
    """The fields of a dataclass in words, those that were left out too or not; lengths as people write them."""
    found = {}
    for part in fields(declared):
        value = getattr(declared, part.name)
        if but_defaults and value == part.default:
            continue
        name = part.name.removesuffix("_us").replace("_", " ")
        found[name] = durations.text(value) if part.name.endswith("_us") else _word(value)
    return found


def _word(value: Any) -> str:
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, tuple):
        return ", ".join(map(_word, value))
    if is_dataclass(value):
        inside = ", ".join(f"{name}={text}" for name, text in _words(value, but_defaults=True).items())
        return f"{type(value).__name__.lower()}({inside})"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={value[name]!r}" for name in sorted(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _about(declared: Any) -> dict[str, str]:
    """What is said of a part for people; monitors have a docstring only."""
    about: About = getattr(declared, "about", None) or about_class(declared, "", ())
    return {
        name: _word(tuple(value) if isinstance(value, list) else value) for name, value in about.properties().items()
    }


def _type_text(type_: Any) -> str:
    """An Avro type on one line: ``double or null``, ``long (timestamp-micros)``."""
    if isinstance(type_, list):
        return " or ".join(sorted(map(_type_text, type_), key=lambda text: text == "null"))
    if isinstance(type_, dict):
        if type_["type"] in ("array", "map"):
            return f"{type_['type']} of {_type_text(type_.get('items') or type_.get('values'))}"
        named = f" {type_['name']}" if "name" in type_ else ""
        logical = f" ({type_['logicalType']})" if "logicalType" in type_ else ""
        inside = ", ".join(type_.get("symbols") or [part["name"] for part in type_.get("fields", ())])
        return f"{type_['type']}{named}{logical}{f' of {inside}' if inside else ''}"
    return str(type_)


def _digest(*meaning: Any) -> str:
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]
