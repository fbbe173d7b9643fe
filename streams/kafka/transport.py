"""Kafka as the log: its topics and offsets, and where readers and writers come from."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
    libversion,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec  # pyright: ignore[reportPrivateImportUsage]

from samestream.schemas.errors import TransportError
from samestream.streams.kafka.client import chosen, is_plain
from samestream.streams.kafka.errors import HINTS, LOG, Answer, kafka_error, patiently, translated
from samestream.streams.kafka.group import KafkaGroupReader
from samestream.streams.kafka.membership import GroupCensus, KafkaMembership
from samestream.streams.kafka.outbox import KafkaOutbox
from samestream.streams.kafka.reader import KafkaReader
from samestream.streams.kafka.writers import KafkaTransactionalWriter, KafkaWriter
from samestream.streams.transport import (
    EARLIEST,
    LATEST,
    MAX_RECORD_BYTES,
    Ends,
    Fetched,
    GroupReader,
    Membership,
    Outbox,
    Partition,
    Reader,
    TopicSpec,
    TransactionalWriter,
    Writer,
    check_partition_counts,
    read_until,
)
from samestream.streams.wire.registry import Registry

_OFFSETS_S = 1.0  # one try of asking a group's coordinator
_ANSWER_S = 15.0  # for questions, so that an absent broker is reported soon


class KafkaTransport:
    """The Kafka at `bootstrap`; every librdkafka property in `properties` (SASL, TLS, ...) goes to all clients.

    client : what reads and writes, see `streams.kafka.client`; else `SAMESTREAM_KAFKA_CLIENT` says, or the quickest that
        can do what the properties ask for
    Raises SettingsError for another client, or for one that cannot be used here.
    """

    def __init__(
        self,
        bootstrap: str,
        properties: Mapping[str, str] = {},
        registry: Registry | None = None,
        client: str = "",
    ) -> None:
        self.bootstrap, self.registry = bootstrap, registry
        self.client = chosen(client, properties)
        self._properties: dict[str, Any] = {
            "client.id": "samestream",
            "topic.metadata.refresh.fast.interval.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            "receive.message.max.bytes": 128 * 1024 * 1024,  # has to exceed a whole fetch response
            "message.max.bytes": MAX_RECORD_BYTES + 64 * 1024,  # the batch around a record counts too
            # By default librdkafka 2.16 starts from the bootstrap servers again after losing all brokers; a transaction
            # under way then never commits, though the broker is back.
            "metadata.recovery.strategy": "none",
            **properties,
            "bootstrap.servers": bootstrap,
        }
        self._admin = AdminClient(self._properties, logger=LOG)
        self._census = GroupCensus(self._admin)
        self._offset_readers: dict[str, Consumer] = {}
        self._lock = threading.Lock()

    @property
    def kind(self) -> str:
        """Always ``kafka``."""
        return "kafka"

    def version(self) -> str:
        """Client library and which of its two clients, address and cluster id."""
        cluster = self._ask(self._admin.cluster_id, "asking for the cluster id")
        return f"librdkafka {libversion()[0]} ({self.client} client) to Kafka at {self.bootstrap} (cluster {cluster})"

    def reader(self) -> Reader:
        """Open a consumer handle."""
        if self.client == "direct":
            from samestream.streams.kafka.direct.reader import DirectReader

            return DirectReader(self, self._properties, self.bootstrap)
        if self.client == "native":
            from samestream.streams.kafka.native_reader import NativeReader  # numba takes a while to load

            return NativeReader(self, self._properties, self.bootstrap)
        return KafkaReader(self, self._properties, self.bootstrap)

    def transactional_writer(self, identity: str) -> TransactionalWriter:
        """Prepare a transactional producer handle."""
        if self.client == "direct":
            from samestream.streams.kafka.direct.writers import DirectTransactionalWriter

            return DirectTransactionalWriter(self._properties, identity)
        if self.client in ("direct", "native"):
            from samestream.streams.kafka.native_writers import NativeTransactionalWriter

            return NativeTransactionalWriter(self._properties, identity)
        return KafkaTransactionalWriter(self._properties, identity)

    def writer(self) -> Writer:
        """Open an idempotent producer handle."""
        if self.client in ("direct", "native"):
            from samestream.streams.kafka.native_writers import NativeWriter

            return NativeWriter(self._properties)
        return KafkaWriter(self._properties)

    def outbox(self) -> Outbox:
        """Open an idempotent producer handle."""
        return KafkaOutbox(self._properties)

    def group_reader(self, group: str, topic: str, start: int) -> GroupReader:
        """Open a consumer handle that subscribes."""
        return KafkaGroupReader(self, self._properties, group, topic, start)

    def membership(self, group: str, topic: str) -> Membership:
        """Open a consumer handle that subscribes and reads nothing."""
        return KafkaMembership(self._properties, group, topic)

    def members(self, group: str) -> int:
        """Asked of the group's coordinator; a group that nobody has joined yet has none."""

        def ask(slice_s: float) -> int:
            return self._census.members(group, max(slice_s, 1.0))

        return self._ask(ask, f"asking for the members of group {group}")

    def topics(self) -> dict[str, int]:
        """Partition count by name, of the topics that do not start with two underscores."""
        found = self._ask(lambda slice_s: self._admin.list_topics(timeout=slice_s), "listing the topics").topics
        return {name: len(topic.partitions) for name, topic in sorted(found.items()) if not name.startswith("__")}

    def create_topics(self, specs: Sequence[TopicSpec]) -> list[str]:
        """Create what is missing; another process creating the same at once does no harm."""
        existing = self.topics()
        check_partition_counts(specs, existing)
        missing = {spec.name: spec for spec in specs if spec.name not in existing}
        created: list[str] = []
        if missing:
            new = [NewTopic(s.name, s.partitions, s.replication, config=dict(s.config)) for s in missing.values()]
            for name, future in self._admin.create_topics(new).items():
                try:
                    self._result(future, f"creating topic {name}")
                    created.append(name)
                except TransportError as refused:
                    if kafka_error(refused.__cause__).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise
        expected = {spec.name: spec.partitions for spec in specs}
        self._await_topics("waiting for leaders", lambda found: all(found.get(n) == c for n, c in expected.items()))
        return created

    def delete_topics(self, names: Sequence[str]) -> None:
        """Delete, and wait until the cluster's metadata no longer names them."""
        doomed = sorted(set(names) & set(self.topics()))
        if doomed:
            for name, future in self._admin.delete_topics(doomed).items():
                self._result(future, f"deleting topic {name}")
            self._await_topics("waiting for topics to go", lambda found: not set(doomed) & set(found))

    def _await_topics(self, doing: str, fulfilled: Callable[[dict[str, int]], bool]) -> None:
        """Ask until the partitions that have a leader, counted by topic, are as wanted."""
        deadline_s = time.monotonic() + _ANSWER_S
        while True:
            found = self._ask(lambda slice_s: self._admin.list_topics(timeout=slice_s), doing).topics
            led = {name: sum(p.leader >= 0 for p in topic.partitions.values()) for name, topic in found.items()}
            if fulfilled(led):
                return
            if time.monotonic() > deadline_s:
                hint = "look at the broker's log, and at the state of its controller"
                raise TransportError(f"Gave up {doing}", where=self.bootstrap, found=led, hint=hint)
            time.sleep(0.02)

    def ends(self, partitions: Iterable[Partition]) -> dict[Partition, Ends]:
        """Two ListOffsets calls. Stable comes first: where both are equal, nothing was open in between."""
        wanted = list(partitions)
        stable = self._offsets(wanted, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)
        high = self._offsets(wanted, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
        return {part: Ends(stable[part], high[part]) for part in wanted}

    def starts(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """One ListOffsets call."""
        return self._offsets(list(partitions), OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)

    def offsets_at(self, known_us: int, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """One or two ListOffsets calls."""
        wanted = list(partitions)
        if known_us == EARLIEST:
            return self.starts(wanted)
        found = {}
        if known_us != LATEST:
            spec = OffsetSpec.for_timestamp(-(-known_us // 1000))  # a record's timestamp has whole milliseconds
            found = self._offsets(wanted, spec, IsolationLevel.READ_COMMITTED)
        missing = [part for part in wanted if found.get(part, -1) < 0]
        return found | self._offsets(missing, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)

    def _offsets(self, partitions: list[Partition], spec: Any, isolation: Any) -> dict[Partition, int]:
        if not partitions:
            return {}
        asked = {TopicPartition(*part): spec for part in partitions}

        def ask(slice_s: float) -> dict[Partition, int]:
            futures = self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=_ANSWER_S)
            try:
                told = {Partition(at.topic, at.partition): future.result().offset for at, future in futures.items()}
                if OFFSET_INVALID in told.values():  # where a broker comes back, an answer of librdkafka may lack it
                    raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE))
                return told
            except KafkaException:
                # After a change of leader librdkafka would go on asking with the old epoch, which it has cached.
                self._admin.list_topics(timeout=slice_s)
                raise

        topics = ", ".join(sorted({part.topic for part in partitions}))
        return self._ask(ask, f"asking for the offsets of {topics}")

    def holders(self, partitions: Iterable[Partition]) -> list[str]:
        """Asked over plain connections of Kafka 3.0 and later; elsewhere nobody is named."""
        if not is_plain(self._properties):
            return []
        from samestream.streams.kafka.direct.cluster import Cluster
        from samestream.streams.kafka.direct.hanging import holders

        with closing(Cluster.of(self._properties)) as cluster:
            return self._ask(lambda _: holders(cluster, partitions), "asking whose transactions are open")

    def committed(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """What the group's coordinator holds; offsets in an undecided transaction are waited for.

        Asked by a consumer handle that never joins the group: the admin client's own call aborts the process when a
        broker comes back (librdkafka issues 3663 and 4605).
        """
        wanted = [TopicPartition(*part) for part in partitions]
        if not wanted:
            return {}
        with self._lock:
            if group not in self._offset_readers:
                settings = {"group.id": group, "isolation.level": "read_committed", "enable.auto.commit": False}
                self._offset_readers[group] = Consumer({**self._properties, **settings}, logger=LOG)
            reader = self._offset_readers[group]

            def ask(slice_s: float) -> list[Any]:
                answered: list[Any] = reader.committed(wanted, timeout=max(slice_s, _OFFSETS_S))
                for at in answered:
                    if at.error is not None:  # such as UNSTABLE_OFFSET_COMMIT, which passes
                        raise KafkaException(at.error)
                return answered

            answer = self._ask(ask, f"asking for the offsets of group {group}")
        return {Partition(at.topic, at.partition): at.offset for at in answer if at.offset >= 0}

    def topic_config(self, name: str) -> dict[str, str]:
        """One DescribeConfigs call; what the broker keeps secret is left out."""
        (future,) = self._admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name)]).values()
        found = self._result(future, f"describing topic {name}")
        return {key: entry.value for key, entry in sorted(found.items()) if entry.value is not None}

    def read_all(self, topic: str, start: Mapping[int, int] | None = None) -> Iterator[Fetched]:
        """Yield up to the stable end as of this call, though nothing is read before the first is asked for."""
        count = self.topics().get(topic, 0)
        if not count:
            hint = HINTS[KafkaError._UNKNOWN_TOPIC]
            raise TransportError("There is no such topic", where=topic, found=sorted(self.topics()), hint=hint)
        partitions = [Partition(topic, number) for number in range(count)]
        firsts = self.starts(partitions)
        for number, offset in (start or {}).items():
            if offset != EARLIEST:
                firsts[Partition(topic, number)] = offset
        stop = {part: end.stable for part, end in self.ends(partitions).items() if firsts[part] < end.stable}
        return self._read(stop, {part: firsts[part] for part in stop})

    def _read(self, stop: dict[Partition, int], firsts: dict[Partition, int]) -> Iterator[Fetched]:
        if stop:
            reader = self.reader()
            reader.assign(firsts)
            yield from read_until(reader, stop)

    def _ask(self, call: Callable[[float], Answer], doing: str) -> Answer:
        return patiently(call, doing, self.bootstrap, _ANSWER_S)

    def _result(self, future: Any, doing: str) -> Any:
        try:
            return future.result(2 * _ANSWER_S)
        except (KafkaException, TimeoutError) as refused:
            raise translated(refused, doing, self.bootstrap) from refused

    def close(self) -> None:
        """Drop the admin handle, which has no other way to be closed; questions fail from now on."""
        self.__dict__.pop("_admin", None)
        with self._lock:
            for reader in self._offset_readers.values():
                reader.close()
            self._offset_readers.clear()
