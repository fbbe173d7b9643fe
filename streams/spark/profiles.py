"""Reference profiles of a model's vectors, counted on Spark file by file and merged: those of `streams.models.profile`."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import FeatureLogError
from samestream.schemas.kinds import Kind
from samestream.streams import columns as cols
from samestream.streams.log.erasure import without_erased
from samestream.streams.log.feature_log import ERASED, FeatureLog
from samestream.streams.models.category_profile import Profile, merged, profile_of, read_profile
from samestream.streams.plan import ModelPlan
from samestream.streams.spark import log_frames

_MANY = (Kind.LIST, Kind.MAP)


def profiles(
    model: ModelPlan, root: str, session: Any, from_us: int | None = None, to_us: int | None = None
) -> dict[str, Profile]:
    """By input, the profile of the logged vectors of the present definition with event times in [from_us, to_us).

    Inputs that are lists or maps have none, and vectors that were erased are in none. Counts are those of a profile made at
    once; sums agree within the order of addition.
    Raises FeatureLogError where the log holds no vector.
    """
    topic = model.topics["features"]
    if not FeatureLog(root).batches(topic):
        raise FeatureLogError("the log holds no vectors", where=topic, hint="let `samestream run MODULE log` catch up.")
    names = {name: value.kind for name, value in model.outputs.items() if value.kind not in _MANY}
    work = functools.partial(_of_file, names, model.fingerprint, from_us, to_us)
    newest = FeatureLog(root).newest(topic)
    marks = [ERASED] if newest is not None and ERASED in newest.schema.names else []
    found = log_frames.mapped(session, root, topic, ["event_time", "fingerprint", *marks, *names], work)
    parts = [json.loads(text) for text in found]
    return {name: functools.reduce(merged, [read_profile(part[name]) for part in parts]) for name in names}


def _of_file(names: dict[str, Kind], fingerprint: str, from_us: int | None, to_us: int | None, table: pa.Table) -> str:
    table = without_erased(table)
    times = cols.from_arrow(table["event_time"], Kind.TIME).values
    keep = cols.from_arrow(table["fingerprint"], Kind.STRING).values == fingerprint
    keep &= (times >= (from_us if from_us is not None else -(2**63))) & (
        times < (to_us if to_us is not None else 2**63 - 1)
    )
    mine = table.filter(pa.array(np.asarray(keep, np.bool_)))
    found = {}
    for name, kind in names.items():
        column = cols.from_arrow(mine[name], kind)
        found[name] = profile_of(column.values, column.valid).to_json()
    return json.dumps(found)
