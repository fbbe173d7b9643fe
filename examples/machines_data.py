"""Synthetic milling machines: tools that wear with the work they do, and sensors that feel it.

Four weeks around the change to summer time, 8 machines, about 14,000 events, all drawn from one seed. What there is to find:

- Wear grows with speed times load, faster for the plain grade, and falls to nothing when the tool is changed.
- Vibration rises with wear, above a level of each machine's own; the spindle gets warmer, above the hall's temperature.
- A measurement comes one to six hours after the check; one in ten checks is never measured.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from samestream.examples.event_batch import EventBatch, in_batches, split
from samestream.examples.machines import Check, Measurement, Reading, Spindle, Tool
from samestream.schemas import Event

START = datetime(2025, 3, 10, tzinfo=UTC)
DAYS = 28
TRAINING_DAYS = 20
MACHINES = 8
STEP = timedelta(minutes=20)
WEAR_LIMIT_UM = 300.0
GRADES = {"plain": 1.5, "coated": 0.9}
RELEASED = ("the first twenty days", "eight days more")

Happened = list[tuple[Event, datetime]]


def load(seed: int = 7) -> dict[str, EventBatch]:
    """Tools, readings, checks and measurements, each ordered by known time; the same for the same seed."""
    draw = random.Random(seed)
    happened: Happened = []
    for machine in range(1, MACHINES + 1):
        happened += _life(draw, machine)
    return in_batches(happened)


def _life(draw: random.Random, machine: int) -> Happened:
    """Four weeks of one machine, in steps of a reading each."""
    level, wear, checks = draw.uniform(1.0, 2.5), draw.uniform(0.0, 150.0), 0
    grade = draw.choice(list(GRADES))
    found: Happened = [(Tool(machine_id=machine, grade=grade, fitted_at=START), START)]
    at = START
    while (at := at + STEP) < START + timedelta(days=DAYS):
        if at.weekday() == 6:
            continue  # Sundays are quiet
        speed, load = draw.gauss(12_000.0, 2_000.0), min(120.0, max(10.0, draw.gauss(60.0, 15.0)))
        wear += GRADES[grade] * speed * load / 720_000.0 * draw.uniform(1.5, 2.5)
        hall = 18.0 + 6.0 * (8 <= at.hour < 20)
        if wear > WEAR_LIMIT_UM or draw.random() < 0.001:
            wear, grade = 0.0, draw.choice(list(GRADES))
            found.append((Tool(machine_id=machine, grade=grade, fitted_at=at), at))
        temperature = hall + 12.0 + 0.05 * wear + draw.gauss(0.0, 1.0) if draw.random() > 0.02 else None
        reading = Reading(
            machine_id=machine,
            spindle=Spindle(speed=round(speed, 1), load=round(load, 2), temperature=temperature),
            vibration=round(level + 0.008 * wear + abs(draw.gauss(0.0, 0.25)), 3),
            at=at,
        )
        late_s = draw.uniform(300, 600) if draw.random() < 0.005 else draw.uniform(0, 5)
        found.append((reading, at + timedelta(seconds=late_s)))
        if draw.random() < 0.12:
            checks += 1
            number, asked = machine * 10_000 + checks, at + timedelta(minutes=draw.uniform(1, 15))
            check = Check(check_id=number, machine_id=machine, ambient=hall, at=asked)
            found.append((check, asked + timedelta(seconds=1)))
            if draw.random() < 0.9:
                measured = asked + timedelta(hours=draw.uniform(1, 6))
                said = round(max(0.0, wear + draw.gauss(0.0, 4.0)), 1)
                found.append((Measurement(check_id=number, wear=said, at=measured), measured + timedelta(seconds=30)))
    return found


def releases(seed: int = 7) -> tuple[dict[str, EventBatch], dict[str, EventBatch]]:
    """What is known in the days that train, and what comes after."""
    return split(load(seed), START + timedelta(days=TRAINING_DAYS))
