"""A pulse: a record that says how late it is, where nothing else comes.

Time enters as a record's timestamp, which the broker gives it as it arrives, and so has its place in the merged order and in
the journal like any other. It belongs to no event, and processors of features, scores and outcomes never read it.
"""

from __future__ import annotations

import os
import socket

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.schemas.expressions import Kind
from samestream.streams.plan import Input
from samestream.streams.transport import NOW, Outgoing

PULSES = "pulses"
"""The input's name."""
_CODEC = Codec(records.PULSE)


def pulse_input(topic: str) -> Input:
    """How a monitor reads pulses among its inputs: a pulse's time is its known time."""
    return Input(PULSES, topic, records.PULSE, {"process": Kind.STRING}, frozenset(), "", "")


def pulse(topic: str) -> Outgoing:
    """A pulse of this process, as of when the broker takes it."""
    return Outgoing(topic, None, _CODEC.encode({"process": f"{socket.gethostname()}:{os.getpid()}"}), NOW)
