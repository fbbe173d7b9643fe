"""Compiles the kernels before the tests begin, so that not every process of theirs does it for itself: `make test`."""

from __future__ import annotations

import harness
import numpy as np
import victim
from harness import PLAN, SHOP

from samestream.monitors.task import MonitorTask
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.models.category_profile import profile_of
from samestream.streams.sql import latest

victim.warm()
latest.warm()
for values in (np.ones(2), np.array(["a", "b"], object)):
    profile_of(values, np.ones(2, np.bool_))
transport = harness.fresh()
harness.send(transport, harness.shop_events(200))
harness.work_off(transport, FeatureTask(PLAN))
harness.work_off(transport, MonitorTask(PLAN, *SHOP.monitors.values()))
