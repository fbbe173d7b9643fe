"""Hanging transactions: decided by their coordinator, open in a partition all the same, and so for ever.

Where a partition has no leader at the moment at which the end of a transaction is to be written into it, Kafka 4.3.0 takes it for
deleted and passes it over (KAFKA-20734). A broker that ends between the decision and its marks, and comes back, does that to
itself now and then. Nothing behind such a transaction is visible until somebody ends it, as its coordinator decided.

What was decided is in the coordinator's own log, and is asked there: marks in other partitions would say it only if one knew
which of them are of the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from samestream.schemas.errors import RecoveryError
from samestream.streams.kafka.direct import coordinator_log, hanging_messages, messages, transaction_messages
from samestream.streams.kafka.direct.cluster import Cluster, Connection
from samestream.streams.kafka.direct.coordinator_log import EMPTY, PREPARE_ABORT, PREPARE_COMMIT, Remembered
from samestream.streams.kafka.direct.hanging_messages import Marker, Open
from samestream.streams.kafka.direct.messages import Broker
from samestream.streams.kafka.direct.transaction_messages import Identity
from samestream.streams.kafka.errors import LOG
from samestream.streams.transport import Partition

_ANSWER_S = 15.0
_OFFSETS = "__consumer_offsets"
_FORBIDDEN = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
_MEANWHILE = {KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.TRANSACTION_COORDINATOR_FENCED}  # somebody else ended it

History = Callable[[str, int], Sequence[Remembered]]
"""What the coordinator's log, of so many partitions, says of a transactional id."""


def verdict(history: Sequence[Remembered], hanging: Open) -> bool | None:
    """Whether a hanging transaction was committed; None where the history does not tell.

    Nothing is written behind a hanging transaction, and one begins only when its predecessor is complete. So it is the last one
    that was decided with this partition in it; if none was, it ended before the partition had joined, and was never committed.
    """
    mine = [one for one in history if one.identity.producer == hanging.identity.producer]
    epoch = hanging.identity.epoch
    for one in reversed(mine):
        if one.state in (PREPARE_COMMIT, PREPARE_ABORT) and hanging.partition in one.partitions:
            if one.identity.epoch >= epoch:
                return one.state == PREPARE_COMMIT
            break
    first = mine[0] if mine else None
    is_whole = first is not None and (first.identity.epoch, first.state != EMPTY) <= (epoch, False)
    return False if is_whole else None


def holders(cluster: Cluster, partitions: Iterable[Partition]) -> list[str]:
    """Who has something open in partitions: transactional ids, or producer ids where no coordinator knows them any more.

    Nobody where brokers are too old to tell. Raises KafkaException where they do not answer.
    """
    try:
        leaders = _leaders(cluster, partitions).items()
        told = {broker: asked for broker, asked in leaders if cluster.asking(broker).tells_of_hanging}
        active = [one for broker, asked in told.items() for one in _asked(cluster.asking(broker), asked)[1]]
        producers = sorted({one.identity.producer for one in active if one.start >= 0})
        names = dict[int, str]()
        for broker in _leaders(cluster, None) if producers else ():
            answer = cluster.asking(broker).ask(messages.LIST_TRANSACTIONS, hanging_messages.listing_body(producers))
            names |= hanging_messages.listed(answer)[1]
    except ValueError as broken:
        raise KafkaException(KafkaError(KafkaError._BAD_MSG, str(broken))) from broken
    return sorted(names.get(producer, f"producer id {producer}") for producer in producers)


def _asked(connection: Connection, partitions: Iterable[Partition]) -> tuple[dict[Partition, int], list[Open]]:
    body = hanging_messages.producers_body(partitions)
    return hanging_messages.producers_of(connection.ask(messages.DESCRIBE_PRODUCERS, body, _ANSWER_S))


def _leaders(cluster: Cluster, wanted: Iterable[Partition] | None) -> dict[Broker, set[Partition]]:
    """Which of these partitions, or of all, each broker leads."""
    asked = None if wanted is None else set(wanted)
    topics = None if asked is None else sorted({part.topic for part in asked})
    known = messages.leaders_of(cluster.ask_any(messages.METADATA, messages.metadata_body(topics)))
    found = dict[Broker, set[Partition]]()
    for part, broker in known.leaders.items():
        if asked is None or part in asked:
            found.setdefault(broker, set()).add(part)
    return found


def end_left_open(settings: Mapping[str, Any], transactional_id: str) -> None:
    """End what hangs of an identity that another client than ours has just taken over, and has begun nothing under.

    settings : librdkafka's properties. Raises as `Hanging.end_all`.
    """
    with closing(Cluster.of(settings)) as cluster:
        body = transaction_messages.coordinator_body(transactional_id, transaction_messages.TRANSACTION)
        error, broker = transaction_messages.coordinator_of(cluster.ask_any(messages.FIND_COORDINATOR, body))
        if error:
            raise KafkaException(KafkaError(error))
        connection = cluster.asking(broker)
        if connection.tells_of_hanging:
            answer = connection.ask(messages.DESCRIBE_TRANSACTIONS, hanging_messages.state_body(transactional_id))
            error, identity = hanging_messages.holder_of(answer)
            if error:
                raise KafkaException(KafkaError(error))
            Hanging(cluster, transactional_id, reading(settings)).end_all(identity)


def reading(settings: Mapping[str, Any]) -> History:
    """The coordinator's log, read where these properties say."""
    return partial(coordinator_log.read, str(settings["bootstrap.servers"]), str(settings["client.id"]))


class Hanging:
    """Looks for hanging transactions of one transactional id, and ends them.

    Who asks must hold the identity. Whatever else than its own is open then hangs: a coordinator lets an identity be taken over,
    and partitions join, only after it has done with the transaction before.
    """

    def __init__(self, cluster: Cluster, transactional_id: str, history: History) -> None:
        self._cluster, self._id, self._history = cluster, transactional_id, history

    def end_all(
        self,
        identity: Identity,
        is_under_way: Callable[[Open], bool] = lambda _: True,
        wanted: Iterable[Partition] | None = None,
    ) -> set[Partition]:
        """End what hangs in some partitions, or in all that can be seen; those that have been looked at.

        is_under_way : whether something that is open under this very identity is no older than the present transaction
        Raises RecoveryError where it cannot be told how a transaction ended, or it may not be ended. Raises KafkaException where
        brokers do not answer.
        """

        def hangs(one: Open) -> bool:  # of a later epoch: somebody has taken over since, and that is theirs
            epoch = one.identity.epoch
            return epoch < identity.epoch or (epoch == identity.epoch and not is_under_way(one))

        try:
            found, looked = self._open(identity.producer, wanted)
            hanging = [one for one in found if hangs(one)]
            self._end_for_good([one for one in hanging if one.partition.topic != _OFFSETS])
            try:
                self._end_for_good([one for one in hanging if one.partition.topic == _OFFSETS])
            except (KafkaException, RecoveryError) as refused:  # tools alone read them: nobody has to wait for that
                LOG.warning("%s: offsets that hang stay so: %s", self._id, refused)
        except ValueError as broken:  # an answer that is none
            raise KafkaException(KafkaError(KafkaError._BAD_MSG, str(broken))) from broken
        return looked

    def _open(self, producer: int, wanted: Iterable[Partition] | None) -> tuple[list[Open], set[Partition]]:
        """What a producer has open, and where it was looked for.

        A partition that nobody leads now is left out; of all that can be seen, so is what a broker leads that does not answer.
        One that may not be read counts as looked at, as do all where a broker is too old to tell (before 3.0): there recovery
        waits, and says what hides the journal.
        """
        found, looked = list[Open](), set[Partition]()
        for broker, partitions in _leaders(self._cluster, wanted).items():
            try:
                connection = self._cluster.asking(broker)
                if not connection.tells_of_hanging:
                    looked |= partitions
                    continue
                errors, active = _asked(connection, partitions)
            except KafkaException as refused:
                if wanted is not None:
                    raise
                LOG.info("asking %s what is open: %s", broker, refused.args[0].str())
                continue
            looked |= {part for part in partitions if errors.get(part, 0) in {0, *_FORBIDDEN}}
            found += [one for one in active if one.start >= 0 and one.identity.producer == producer]
        return found, looked

    def _end_for_good(self, hanging: Sequence[Open]) -> None:
        """End some, and see that they have. Raises KafkaException where one stays open."""
        if hanging:
            self._end(hanging)
            left = self._open(hanging[0].identity.producer, {one.partition for one in hanging})[0]
            if left := [one for one in left if one in hanging]:
                raise KafkaException(KafkaError(KafkaError.REQUEST_TIMED_OUT, f"{left[0].partition} stays open"))

    def _end(self, hanging: Sequence[Open]) -> None:
        count = self._cluster.ask_any(messages.METADATA, messages.metadata_body([coordinator_log.TOPIC]))
        partitions = messages.leaders_of(count).counts.get(coordinator_log.TOPIC, 0)
        where = ", ".join(str(one.partition) for one in hanging[:3])
        if not partitions:
            raise self._untold(where, f"{coordinator_log.TOPIC} is hidden from this process", _GRANT_READ)
        try:
            history = self._history(self._id, partitions)
        except KafkaException as refused:
            if refused.args[0].code() in _FORBIDDEN:
                raise self._untold(where, refused.args[0].str(), _GRANT_READ) from refused
            raise
        except ValueError as unknown:
            raise self._untold(where, str(unknown), _BY_HAND) from unknown
        decided: dict[Partition, Marker] = {}
        for one in hanging:
            commit = verdict(history, one)
            if commit is None:
                raise self._untold(str(one.partition), f"{coordinator_log.TOPIC} no longer tells", _BY_HAND)
            decided[one.partition] = Marker(one.identity, max(one.coordinator_epoch, 0), commit)
        for part, marker in decided.items():
            how = "committed" if marker.commit else "aborted"
            LOG.warning("%s: ending a transaction that hung in %s, %s by its coordinator", self._id, part, how)
        self._write(decided)

    def _write(self, decided: dict[Partition, Marker]) -> None:
        for broker, partitions in _leaders(self._cluster, decided).items():
            markers: dict[Marker, list[Partition]] = {}
            for part in sorted(partitions):
                markers.setdefault(decided[part], []).append(part)
            body = hanging_messages.markers_body(markers)
            errors = hanging_messages.marker_errors(
                self._cluster.asking(broker).ask(messages.WRITE_MARKERS, body, _ANSWER_S)
            )
            for part, error in errors.items():
                if error in _FORBIDDEN:
                    raise RecoveryError(
                        "a transaction hangs, and this process may not end it",
                        where=f"{self._id}, {part}",
                        found=KafkaError(error).str(),
                        expected="committed" if decided[part].commit else "aborted",
                        hint="grant the process `Alter` on the cluster, and start it again.",
                    )
                if error not in _MEANWHILE:
                    raise KafkaException(KafkaError(error, f"ending what hangs in {part}"))

    def _untold(self, where: str, found: str, hint: str) -> RecoveryError:
        return RecoveryError(
            "a transaction hangs, and how it ended cannot be told",
            where=f"{self._id}, {where}",
            found=found,
            hint=hint,
        )


_GRANT_READ = (
    f"grant the process `Read` on the topic {coordinator_log.TOPIC}, and `Alter` on the cluster; then start it again."
)
_BY_HAND = "find in other partitions whether it was committed; `kafka-transactions.sh abort` ends one that was not."
