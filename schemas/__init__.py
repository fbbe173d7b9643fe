"""What is declared: events, features, models; errors and records. Light to import, and imports nothing of ours."""

from samestream.schemas.conditional import when
from samestream.schemas.events import Event, Field, event_time, field, key
from samestream.schemas.expressions import Expr
from samestream.schemas.features import Features
from samestream.schemas.models import Label, Model, Trainer, label
from samestream.schemas.nested import Nested, Record, nested
from samestream.schemas.on_demand import OnDemand
from samestream.schemas.tables import Table

__all__ = [
    "Event",
    "Expr",
    "Features",
    "Field",
    "Label",
    "Model",
    "Nested",
    "OnDemand",
    "Record",
    "Table",
    "Trainer",
    "event_time",
    "field",
    "key",
    "label",
    "nested",
    "when",
]
