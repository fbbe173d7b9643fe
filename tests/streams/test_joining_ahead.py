"""What a transaction of ours asks before it has to: every answer there can be, and what is asked again after it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from samestream.streams.kafka.direct import messages, producer
from samestream.streams.kafka.direct.messages import Answer, Broker
from samestream.streams.kafka.direct.transaction import CONCURRENT, Transaction
from samestream.streams.kafka.direct.transaction_messages import GROUP, TRANSACTION, Identity
from samestream.streams.transport import Partition

PART, UNUSED = Partition("t", 0), Partition("t", 1)
OFFSETS = {Partition("in", 0): 7}
HERE = Broker("here", 1)
JOINING = [messages.ADD_PARTITIONS, messages.ADD_OFFSETS]
ABSENT_ANSWER = -1


class Connection:
    """Answers each request with the next error of a list; ABSENT_ANSWER where no answer comes."""

    def __init__(self, asked: list[tuple[str, int]], name: str, errors: Callable[[int], int]) -> None:
        self.broker, self._asked, self._name, self._errors = HERE, asked, name, errors
        self._waiting: list[int] = []
        self.is_closed = False

    def send(self, kind: int, _body: bytes) -> None:
        assert not self.is_closed
        self._asked.append((self._name, kind))
        self._waiting.append(kind)

    def receive(self, _timeout_s: float) -> Answer | None:
        assert not self.is_closed
        kind = self._waiting.pop(0)
        error = struct.pack(">h", self._errors(kind))
        if error == struct.pack(">h", ABSENT_ANSWER):
            return None
        by_part = (
            messages.by_topic({PART: error}) if kind in (messages.ADD_PARTITIONS, messages.COMMIT_OFFSETS) else error
        )
        return Answer(memoryview(struct.pack(">i", 0) + by_part))

    def ask(self, kind: int, body: bytes, _timeout_s: float) -> Answer:
        self.send(kind, body)
        answer = self.receive(0.0)
        assert answer is not None
        return answer

    def close(self) -> None:
        self.is_closed = True


class Cluster:
    """Connections by what they are for; each answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.errors: dict[tuple[str, int], list[int]] = {}
        self._known: dict[str, Connection] = {}

    def asking(self, _broker: Broker, apart: str = "") -> Connection:
        known = self._known.get(apart)
        if known is None or known.is_closed:
            known = self._known[apart] = Connection(self.asked, apart, lambda kind: self._next(apart, kind))
        return known

    def _next(self, apart: str, kind: int) -> int:
        left = self.errors.get((apart, kind), [])
        return left.pop(0) if left else 0


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def second(cluster: Cluster) -> Transaction:
    """A second transaction, after one that wrote to a partition and committed offsets."""
    found = Transaction(cluster, "me", 60_000)  # type: ignore[arg-type]
    found._identity = Identity(5, 0)
    found._coordinators = {(TRANSACTION, "me"): HERE, (GROUP, "g"): HERE}
    found.begin()
    found.join_ahead()  # nothing is known of any last one
    found.join([PART, UNUSED], 1.0)
    found.written.add(PART)
    commit(found)
    assert [name for name, _ in cluster.asked] == [""] * 4
    cluster.asked.clear()
    found.begin()
    found.join_ahead()
    return found


def commit(found: Transaction) -> None:
    found.offer_offsets(OFFSETS, "g")
    found.add_offsets(OFFSETS, "g", 1.0)
    found.end(True, 1.0)


def test_nothing_is_asked_twice_where_all_is_well(cluster: Cluster, second: Transaction) -> None:
    second.join([PART], 1.0)
    assert second.joined == {PART}
    commit(second)
    ahead = [("ahead", kind) for kind in JOINING]
    assert cluster.asked == [*ahead, ("offsets", messages.COMMIT_OFFSETS), ("", messages.END_TRANSACTION)]


@pytest.mark.parametrize("error", [CONCURRENT, KafkaError.COORDINATOR_NOT_AVAILABLE, ABSENT_ANSWER])
@pytest.mark.parametrize("where", [("ahead", kind) for kind in JOINING] + [("offsets", messages.COMMIT_OFFSETS)])
def test_what_did_not_go_well_is_asked_again(
    cluster: Cluster, second: Transaction, where: tuple[str, int], error: int
) -> None:
    cluster.errors[where] = [error]
    second.join([PART], 1.0)
    assert second.joined == {PART}
    commit(second)
    assert ("", where[1]) in cluster.asked
    assert cluster.asked[-1] == ("", messages.END_TRANSACTION)
    assert (second._ahead, second._offered, second.fatal) == (None, None, None)


@pytest.mark.parametrize("where", [("ahead", kind) for kind in JOINING] + [("offsets", messages.COMMIT_OFFSETS)])
def test_who_was_taken_over_learns_it(cluster: Cluster, second: Transaction, where: tuple[str, int]) -> None:
    cluster.errors[where] = [KafkaError.INVALID_PRODUCER_EPOCH]
    with pytest.raises(KafkaException) as raised:
        commit(second)
    assert raised.value.args[0].fatal()
    assert ("", messages.END_TRANSACTION) not in cluster.asked


def test_an_abort_comes_after_every_answer(cluster: Cluster, second: Transaction) -> None:
    second.offer_offsets(OFFSETS, "g")
    second.end(False, 1.0)
    assert cluster.asked[-1] == ("", messages.END_TRANSACTION)
    assert all(not known._waiting for known in cluster._known.values())


def test_what_is_left_to_others_leaves_no_answer_behind(cluster: Cluster, second: Transaction) -> None:
    second.leave()
    assert cluster._known["ahead"].is_closed
    second.begin()
    second.join_ahead()  # on another connection: the old answers would be taken for these
    second.join([PART], 1.0)
    assert second.joined == {PART}


@pytest.mark.parametrize("what", ["join_ahead", "offer_offsets"])
def test_what_is_interrupted_leaves_no_answer_behind(
    cluster: Cluster, second: Transaction, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    second.settle()
    sent: list[Connection] = []

    def interrupted(self: Connection, _kind: int, _body: bytes) -> None:
        sent.append(self)
        raise KeyboardInterrupt

    asking = {"join_ahead": second.join_ahead, "offer_offsets": lambda: second.offer_offsets(OFFSETS, "g")}[what]
    with monkeypatch.context() as patched:
        patched.setattr(Connection, "send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            asking()
    assert sent[0].is_closed
    assert second.is_unknown()


def test_where_an_answer_is_missing_nobody_knows(cluster: Cluster, second: Transaction) -> None:
    cluster.errors["ahead", messages.ADD_OFFSETS] = [ABSENT_ANSWER]
    assert second.is_unknown()
    second.leave()
    assert not second.is_unknown()


def test_offsets_of_another_group_join_first(cluster: Cluster, second: Transaction) -> None:
    second._coordinators[GROUP, "h"] = HERE
    second.offer_offsets(OFFSETS, "h")
    second.add_offsets(OFFSETS, "h", 1.0)
    assert cluster.asked[-2:] == [("", messages.ADD_OFFSETS), ("", messages.COMMIT_OFFSETS)]


def test_what_was_refused_and_holds_nothing_is_not_ended(cluster: Cluster, second: Transaction) -> None:
    for kind in JOINING:
        cluster.errors["ahead", kind] = [CONCURRENT]
    second.end(True, 1.0)
    assert ("", messages.END_TRANSACTION) not in cluster.asked


def test_what_is_not_written_any_more_does_not_join(cluster: Cluster, second: Transaction) -> None:
    assert second._ahead is not None
    assert second._ahead.partitions == (PART,)
    commit(second)
    second.begin()
    second.join_ahead()
    assert second._ahead is None


def test_a_connection_that_breaks_while_asking_is_of_no_consequence(
    cluster: Cluster, second: Transaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: Any, _kind: int, _body: bytes) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    second.settle()
    with monkeypatch.context() as patched:
        patched.setattr(Connection, "send", broken)
        second.join_ahead()
        second.offer_offsets(OFFSETS, "g")
    assert (second._ahead, second._offered) == (None, None)
    commit(second)


def test_the_pause_is_short_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer.time, "monotonic", lambda: 100.0)
    batch = producer._Batch(None, 0.0)  # type: ignore[arg-type]
    pauses = []
    for _ in range(7):
        batch.wait()
        pauses.append(round(batch.not_before_s - 100.0, 4))
    assert pauses == [0.001, 0.002, 0.004, 0.008, 0.016, 0.02, 0.02]
