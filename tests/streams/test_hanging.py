"""Transactions that hang, on genuine Kafka: whoever takes the identity over ends them as their coordinator decided."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # pyright: ignore[reportPrivateImportUsage]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)
from own_shop import OwnShop

from samestream.schemas.errors import RecoveryError
from samestream.streams.engine import journal, recovery
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.kafka.direct import coordinator_log, hanging_messages, messages, rows, transaction_messages
from samestream.streams.kafka.direct.coordinator_log import Remembered
from samestream.streams.kafka.direct.hanging import Hanging, verdict
from samestream.streams.kafka.direct.hanging_messages import Open
from samestream.streams.kafka.direct.transaction_messages import Identity
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.transport import Outgoing, Partition, TopicSpec

PART, OTHER = Partition("t", 0), Partition("t", 1)
EMPTY, ONGOING, COMMIT, ABORT, COMMITTED = 0, 1, 2, 3, 4


def remembered(*states: tuple[int, int, Partition | None]) -> list[Remembered]:
    """A history of producer 7: state, epoch, and the partition that had joined."""
    return [Remembered(state, Identity(7, epoch), frozenset({part} - {None})) for state, epoch, part in states]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("history", "committed"),
    [
        (remembered((EMPTY, 3, None), (COMMIT, 3, PART), (COMMITTED, 3, None), (EMPTY, 4, None)), True),
        (remembered((COMMIT, 3, PART), (ABORT, 4, PART), (EMPTY, 5, None)), False),  # aborted by who took over
        (remembered((COMMIT, 3, PART), (ABORT, 3, OTHER), (EMPTY, 4, None)), True),  # another one came after it
        (remembered((COMMIT, 2, PART), (EMPTY, 3, None), (COMMIT, 3, OTHER), (EMPTY, 4, None)), False),  # never joined
        (remembered((COMMIT, 3, OTHER), (EMPTY, 4, None)), None),  # it may have joined before that
        (remembered((COMMIT, 2, PART), (COMMIT, 3, OTHER)), False),
        (remembered((ONGOING, 3, PART), (COMMIT, 3, OTHER)), None),
        ([], None),
        ([one._replace(identity=Identity(8, 3)) for one in remembered((COMMIT, 3, PART))], None),
    ],
)
def test_the_last_decision_with_the_partition_in_it_counts(history: list[Remembered], committed: bool | None) -> None:
    assert verdict(history, Open(PART, Identity(7, 3), -1, 5, 10)) is committed


def test_a_start_waits_for_no_offsets_that_only_tools_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_a_leader(self: Hanging, hanging: list[Open]) -> None:
        raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))

    ours: Any = Hanging(None, "shop.features", lambda *_: [])  # type: ignore[arg-type]
    monkeypatch.setattr(Hanging, "_end", without_a_leader)
    for topic, refused in (("__consumer_offsets", False), ("t", True)):
        part = Partition(topic, 0)
        open_one = [Open(part, Identity(7, 3), 1, 5, 2)]
        monkeypatch.setattr(ours, "_open", lambda *_, found=open_one, part=part: (found, {part}))
        if refused:
            with pytest.raises(KafkaException):
                ours.end_all(Identity(7, 4))
        else:
            assert ours.end_all(Identity(7, 4)) == {part}


@pytest.fixture(scope="module")
def careless(broker: str) -> Iterator[str]:
    """A broker that takes records of partitions that have not joined, as Kafka did before 3.6."""
    admin = AdminClient({"bootstrap.servers": broker})

    def alter(how: AlterConfigOpType) -> None:
        entry = ConfigEntry("transaction.partition.verification.enable", "false", incremental_operation=how)
        resource = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=[entry])
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(10)

    alter(AlterConfigOpType.SET)
    yield broker
    alter(AlterConfigOpType.DELETE)


class Left:
    """A transactional writer that leaves something hanging in the first of its partitions.

    topic : one of its own, of two partitions, unless it is said
    """

    def __init__(self, broker: str, name: str = "", topic: str = "", first: int = 0) -> None:
        self.kafka = KafkaTransport(broker, client="direct")
        self.name = name or f"hang{uuid.uuid4().hex[:8]}"
        self.topic = topic or self.name
        self.kafka.create_topics([] if topic else [TopicSpec(self.topic, 2)])
        self.parts = [Partition(self.topic, number) for number in (first, first + 1)]
        self.writer = self.opened()

    def opened(self, client: str = "direct") -> Any:
        writer = KafkaTransport(self.kafka.bootstrap, client=client).transactional_writer(self.name)
        writer.open()
        return writer

    def begin(self, value: bytes, *numbers: int) -> None:
        self.writer.begin()
        self.writer.send([Outgoing(self.topic, None, value, 1_700_000_000_000_000, number) for number in numbers])

    def hang(self, value: bytes) -> None:
        """A record that comes after the end of its transaction, which is what a partition without its mark looks like."""
        self.await_end()
        handle, part = self.writer._sender.handle, self.parts[0]
        (given,) = rows.of_records([Outgoing(self.topic, None, value, 1_700_000_000_000_000, part.partition)], 1)
        identity, sequence = handle._transaction._identity, handle._sequences[part]
        (batch,) = rows.built(given, np.zeros(1, np.int64), 0, 1000, identity, sequence)
        body = transaction_messages.produce_body(self.name, 10_000, {part: batch.data})
        connection = handle._cluster.asking(handle._cluster.leaders[part])
        assert transaction_messages.produce_errors(connection.ask(messages.PRODUCE, body)) == {part: 0}
        handle._sequences[part] += 1

    def await_end(self) -> None:
        """Kafka answers before it has marked the partitions."""
        deadline_s = time.monotonic() + 20
        while self.is_open():
            assert time.monotonic() < deadline_s, "a transaction stays open"

    def is_open(self) -> bool:
        time.sleep(0.01)
        return any(end.stable != end.high for end in self.kafka.ends(self.parts).values())

    def seen(self) -> list[bytes]:
        return sorted(value or b"" for fetched in self.kafka.read_all(self.topic) for value in fetched.values)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("client", "committed"), [("direct", True), ("direct", False), ("native", False), ("python", True)]
)
def test_who_takes_the_identity_over_ends_what_hangs_as_it_was_decided(
    careless: str, client: str, committed: bool
) -> None:
    left = Left(careless)
    left.begin(b"before", 0, 1)
    left.writer.commit()
    left.begin(b"whole", 0, 1)
    left.writer.commit() if committed else left.writer.abort()
    left.hang(b"hanging")
    assert left.is_open()
    assert b"hanging" not in left.seen()
    assert left.kafka.holders(left.parts) == [left.name]
    assert left.kafka.holders(left.parts[1:]) == []
    left.opened(client).close()
    assert not left.is_open()
    expected = [b"before", b"before", b"hanging", b"whole", b"whole"] if committed else [b"before", b"before"]
    assert left.seen() == expected


@pytest.mark.kafka
def test_nothing_is_written_behind_what_hangs(careless: str) -> None:
    """Else the end of the next transaction would decide it, too, whatever was decided of it."""
    left = Left(careless)
    left.begin(b"whole", 0, 1)
    left.writer.commit()
    left.hang(b"hanging")
    handle = left.writer._sender.handle
    handle._lost_broker(handle._cluster.leaders[left.parts[0]])  # a broker that went away and came back
    left.begin(b"aborted", 0)
    left.writer.abort()
    left.await_end()
    assert left.seen() == [b"hanging", b"whole", b"whole"]
    left.writer.close()


@pytest.mark.kafka
def test_who_was_taken_over_from_ends_nothing_of_who_did(careless: str) -> None:
    left = Left(careless)
    left.begin(b"first", 0)
    left.writer.commit()
    left.await_end()
    older, left.writer = left.writer._sender.handle, left.opened()
    left.begin(b"second", 0)
    left.writer._sender.flush()
    assert older._hanging.end_all(older._transaction._identity) >= set(left.parts)
    assert left.is_open()
    left.writer.commit()
    left.await_end()
    assert left.seen() == [b"first", b"second"]
    left.writer.close()


@pytest.mark.kafka
def test_a_role_ends_its_own_and_says_whose_it_waits_for(
    careless: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = OwnShop(careless, None, tmp_path)  # type: ignore[arg-type]
    events, task = shop.events(60), FeatureTask(shop.plan)
    harness.send(shop.kafka, events[:30])
    harness.work_off(shop.kafka, task, shop.plan)
    (number,) = {one.partition for one in journal.placed(shop.kafka, shop.plan.journal, "features")}
    harness.send(shop.kafka, events[30:])
    for whose in ("features", "scorer"):  # of the second it is made to lie in the journal's same partition
        identity = f"{shop.plan.app}.{whose}"
        left = Left(careless, identity, shop.plan.journal, number)
        left.begin(b"aborted", number)
        left.writer.abort()
        left.hang(b"hanging")
        left.writer.close()
        if whose == "scorer":
            monkeypatch.setattr(recovery, "_JOURNAL_PATIENCE_S", 0.5)
            with pytest.raises(RecoveryError) as refused:
                harness.work_off(shop.kafka, FeatureTask(shop.plan), shop.plan)
            assert f"of {identity}" in str(refused.value)
            assert "start the role again" in str(refused.value)
            left.opened().close()
        harness.work_off(shop.kafka, FeatureTask(shop.plan), shop.plan, seconds=20)
    assert shop.outputs() == shop.undisturbed(events)


@pytest.mark.kafka
def test_what_cannot_be_told_or_may_not_be_ended_is_refused(careless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left = Left(careless)
    left.begin(b"whole", 0)
    left.writer.commit()
    left.hang(b"hanging")
    read = coordinator_log.read
    with monkeypatch.context() as forgetful:
        forgetful.setattr(coordinator_log, "read", lambda *given: read(*given)[-1:])
        with pytest.raises(RecoveryError) as refused:
            left.opened()
    assert "cannot be told" in str(refused.value)
    assert str(left.parts[0]) in str(refused.value)

    def forbidden(*_: Any) -> Any:
        raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))

    with monkeypatch.context() as unprivileged:
        unprivileged.setattr(coordinator_log, "read", forbidden)
        with pytest.raises(RecoveryError, match="grant the process `Read` on the topic __transaction_state"):
            left.opened()
    with monkeypatch.context() as unprivileged:
        errors = {left.parts[0]: KafkaError.CLUSTER_AUTHORIZATION_FAILED}
        unprivileged.setattr(messages, "WRITE_MARKERS", messages.API_VERSIONS)  # nothing is written
        unprivileged.setattr(hanging_messages, "marker_errors", lambda _: errors)
        with pytest.raises(RecoveryError, match="grant the process `Alter` on the cluster"):
            left.opened()
    assert left.is_open()
    left.opened().close()
    assert not left.is_open()
