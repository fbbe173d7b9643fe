"""What librdkafka's errors mean for us: which ones pass, which are final, and what the operator should do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from samestream.schemas.errors import FencedError, TransportError
from samestream.streams.transport import MAX_RECORD_BYTES, TAKEN_OVER

LOG = logging.getLogger("samestream.kafka")
# every property goes to every client, by design: that some are for the other kind is no news
LOG.addFilter(lambda record: "property and will be ignored by this" not in record.getMessage())

SLICE_S = 0.2
"""How long one blocking call may take: librdkafka does not notice Ctrl-C while it waits."""

Answer = TypeVar("Answer")

FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
ABSENT = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT}
PASSING = ABSENT | {
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._WAIT_COORD,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError.THROTTLING_QUOTA_EXCEEDED,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
}
_REFUSED_LOGIN = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL}
HINTS = {
    **dict.fromkeys(ABSENT, "is the broker running, and this its address? `samestream up` starts a local one"),
    **dict.fromkeys(_REFUSED_LOGIN, "compare the security.*, sasl.* and ssl.* properties with the broker's listener"),
    **dict.fromkeys(FENCED, TAKEN_OVER),
    KafkaError.MSG_SIZE_TOO_LARGE: f"raise the topic's max.message.bytes (clients send up to {MAX_RECORD_BYTES} bytes)",
    KafkaError._AUTO_OFFSET_RESET: "the log does not hold that offset: retention removed it, or the topic was recreated",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create the topic first, and look at the partition number",
    KafkaError._UNKNOWN_PARTITION: "create the topic first, and look at the partition number",
    KafkaError._UNKNOWN_TOPIC: "create the topic first",
    KafkaError.INVALID_REPLICATION_FACTOR: "there are fewer brokers than replicas asked for",
    KafkaError._STATE: "call open, then begin, then send, then commit or abort",
}


def kafka_error(caught: BaseException | None) -> Any:
    """Find librdkafka's error: a fatal one raised between two callbacks arrives as the cause of a SystemError."""
    while caught is not None:
        if isinstance(caught, KafkaException):
            return caught.args[0]
        caught = caught.__cause__
    return KafkaError(KafkaError._FAIL, "no error of Kafka's")


def translated(caught: Exception, doing: str, where: str, producer: Any = None) -> TransportError:
    """Say in our words what librdkafka raised; `producer` lets the cause of a fatal error be found out."""
    error = KafkaError(KafkaError._TIMED_OUT, "no answer") if isinstance(caught, TimeoutError) else kafka_error(caught)
    if error.code() == KafkaError._FATAL and producer is not None:
        # Once fatal, produce() says no more than that; any transactional call tells the original error.
        try:
            producer.begin_transaction()
        except (KafkaException, SystemError) as original:
            error = kafka_error(original)
    fenced = error.code() in FENCED
    kind = FencedError if fenced else TransportError
    what = f"Another writer has taken over, noticed while {doing}" if fenced else f"Kafka failed while {doing}"
    hint = HINTS.get(error.code(), "look at the broker's log for the same moment")
    failure = kind(what, where=where, found=f"{error.name()}: {error.str()}", hint=hint)
    failure.__cause__ = caught
    return failure


def patiently(
    call: Callable[[float], Answer], doing: str, where: str, patience_s: float, producer: Any = None
) -> Answer:
    """Call with a slice of the time left, again and again while the error is one that passes."""
    deadline_s = time.monotonic() + patience_s
    while True:
        started_s = time.monotonic()
        try:
            return call(SLICE_S)
        except (KafkaException, SystemError) as caught:
            error = kafka_error(caught)
            passing = error.retriable() or (error.code() in PASSING and not error.fatal())
            if error.txn_requires_abort() or not passing or time.monotonic() >= deadline_s:
                raise translated(caught, doing, where, producer) from caught
            time.sleep(max(0.0, 0.02 - (time.monotonic() - started_s)))
