"""The fleet of `fleet.py` with a log: planes and makers that change and go, and flights among them."""

from __future__ import annotations

import random
from pathlib import Path

import harness
from harness import SECOND_US, START_US

from samestream.schemas.app import load
from samestream.streams.lowering import compile_app
from samestream.streams.transport import Outgoing

FLEET = load(str(Path(__file__).with_name("fleet.py")))
FLEET_PLAN = compile_app(FLEET)


def fleet_events(count: int = 150, seed: int = 1) -> list[Outgoing]:
    """Records in known-time order."""
    draw, found = random.Random(seed), []
    for number in range(count):
        known_us = START_US + number * 90 * SECOND_US
        tail, name, kind = f"n{draw.randrange(4)}", draw.choice("abc"), draw.random()
        if kind < 0.2:
            values = {
                "tail": tail,
                "year": draw.choice([None, 1990, 2005]),
                "maker": name,
                "weight": draw.uniform(1, 99),
            }
            found.append(harness.encode(FLEET_PLAN, "Plane", tail, known_us, **values))
        elif kind < 0.25:
            found.append(Outgoing(FLEET_PLAN.events["Plane"].topic, tail.encode(), None, known_us))
        elif kind < 0.35:
            values = {
                "name": name,
                "is_big": draw.random() < 0.5,
                "since": known_us - draw.randrange(9) * 60 * SECOND_US,
            }
            found.append(harness.encode(FLEET_PLAN, "Maker", name, known_us, **values))
        else:
            at = known_us - draw.choice([0, 0, 30, 300, 3000]) * SECOND_US
            values = {
                "flight": number,
                "tail": draw.choice([None, tail, tail]),
                "delay": draw.uniform(-5, 60),
                "at": at,
            }
            found.append(harness.encode(FLEET_PLAN, "Flight", number, known_us, **values))
    return found
