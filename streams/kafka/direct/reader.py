"""Reading from Kafka by its own protocol: as `KafkaReader`, but a whole answer is decoded at once, by compiled code.

One request for each broker is under way at any time: what a fetch has brought is decoded while the next one is answered.
There are no threads; what has come stays in the socket until somebody asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from samestream.streams.kafka.direct import batches, fetch_messages, messages
from samestream.streams.kafka.direct.batches import Columns, CorruptBatchError
from samestream.streams.kafka.direct.cluster import Cluster, Connection, readable
from samestream.streams.kafka.direct.course import Course
from samestream.streams.kafka.direct.messages import Broker
from samestream.streams.kafka.errors import LOG, SLICE_S
from samestream.streams.kafka.reader import KafkaReader
from samestream.streams.transport import Ends, Fetched, Partition

_LOST_S = 30.0  # a fetch that is not answered for so long never will be
_FRESH_S = 0.003  # what was under way may have been answered long ago: how long an answer of now is waited for
_AGAIN_S = 0.05  # how long a partition that failed is left alone
_NO_LEADER = KafkaError.LEADER_NOT_AVAILABLE
_STALE = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.REPLICA_NOT_AVAILABLE,
}
_PATIENCE_S = 5.0  # a topic that was just made may not be known everywhere
_LEAST_BYTES = 64 * 1024  # what is asked for of one partition, however many there are


class DirectReader(KafkaReader):
    """Connections of our own with partitions assigned by hand."""

    def _opened(self, settings: dict[str, Any]) -> Any:
        return DirectConsumer(settings)

    def fetch(self, max_records: int, timeout_s: float) -> list[Fetched]:
        """Wait for the first record only, then take what is there without waiting."""
        self._raise_failure()
        consumer: DirectConsumer = self._consumer
        deadline_s = time.monotonic() + timeout_s
        is_old = consumer.exchange(0.0)
        moved = self._pass_over()
        while not (moved or consumer.deliverable) and (left_s := deadline_s - time.monotonic()) > 0:
            is_old = False
            consumer.exchange(min(SLICE_S, left_s))
            self._note_told()
            self._raise_failure()
            moved = self._pass_over()
        if is_old and sum(course.count for course in consumer.deliverable.values()) < max_records:
            consumer.exchange(_FRESH_S, at_once=True)
        found = self._delivered(max_records)
        self._pass_over()
        consumer.ask()
        self._note_told()
        if not found:
            self._raise_failure()
        return found

    def ends(self) -> dict[Partition, Ends]:
        """Asked of the leaders on connections of our own; where that fails, as the other clients ask."""
        consumer: DirectConsumer = self._consumer
        try:
            return consumer.ends()
        except (KafkaException, ValueError) as refused:
            LOG.info("asking where partitions end: %s", refused)
            return super().ends()

    def _note_told(self) -> None:
        failures = self._consumer.failures
        while failures:
            self._note_failure(*failures.pop(0))

    def _pass_over(self) -> bool:
        """Go past what holds no committed record; whether that moved anything."""
        moved = False
        for part, course in self._consumer.deliverable.items():
            if (there := course.passed()) is not None:
                moved |= there > self._next[part]
                self._next[part] = max(self._next[part], there)
        return moved

    def _delivered(self, most: int) -> list[Fetched]:
        """Of every partition its share; what one does not need is for the others."""
        found = []
        there = sorted(self._consumer.deliverable.items(), key=lambda pair: pair[1].count)
        for place, (part, course) in enumerate(there):
            got = self._decoded(part, course, -(-most // (len(there) - place)))
            if got:
                self._next[part] = int(got.offsets[-1]) + 1
                most -= len(got)
                found.append(got.of(part))
        return found

    def _decoded(self, part: Partition, course: Course, most: int) -> Columns | None:
        try:
            return course.decode(most, self._consumer.check)
        except CorruptBatchError as corrupt:
            self._note_failure(KafkaError(KafkaError._BAD_MSG, str(corrupt)), f"reading {part}")
            self._consumer.go_back(part, self._next[part])
            return None


class DirectConsumer:
    """What `KafkaReader` asks of a consumer handle, by connections of our own."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._most_bytes = int(settings["fetch.max.bytes"])
        self._most_part_bytes = int(settings["fetch.message.max.bytes"])
        self._wait_ms = int(settings["fetch.wait.max.ms"])
        self._least_bytes = int(settings.get("fetch.min.bytes", 1))
        self.check = str(settings["check.crcs"]).lower() not in ("false", "0", "no", "f", "n")
        most = int(settings["receive.message.max.bytes"])
        self._cluster = Cluster(str(settings["bootstrap.servers"]), str(settings["client.id"]), most)
        self._courses: dict[Partition, Course] = {}
        self._paused: set[Partition] = set()
        self._asked: dict[Connection, tuple[set[Partition], float]] = {}
        self.failures: list[tuple[KafkaError, str]] = []
        batches.compile_now()

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Replace the assignment; what is under way for an older one is dropped."""
        self._courses = {Partition(part.topic, part.partition): Course(part.offset, part.offset) for part in partitions}
        self._paused = set()
        for connection in list(self._asked):  # its answer would come in front of ours
            self._drop(connection)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Deliver nothing of these; what is here stays."""
        more = {Partition(part.topic, part.partition) for part in partitions} - self._paused
        self._paused |= more
        for part in more & self._courses.keys():
            self._courses[part].detach()

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Deliver these again."""
        self._paused -= {Partition(part.topic, part.partition) for part in partitions}

    def go_back(self, part: Partition, offset: int) -> None:
        """Fetch a partition again from an offset on, after a moment."""
        course = Course(offset, offset, not_before_s=time.monotonic() + _AGAIN_S)
        self._courses[part] = course
        for connection, (asked, _) in list(self._asked.items()):
            if part in asked:
                self._drop(connection)

    def close(self) -> None:
        """Close all connections."""
        self._asked.clear()
        self._cluster.close()

    @property
    def deliverable(self) -> dict[Partition, Course]:
        """The partitions of which something is here."""
        return {
            part: course
            for part, course in self._courses.items()
            if (course.waiting or course.rest is not None) and part not in self._paused
        }

    def ends(self) -> dict[Partition, Ends]:
        """Where the partitions end, in one exchange with each leader. Raises KafkaException where one does not say."""
        by_leader: dict[Broker, list[Partition]] = {}
        if unknown := [part for part in self._courses if part not in self._cluster.leaders]:
            self._find(unknown)
        for part in self._courses:
            if (leader := self._cluster.leaders.get(part)) is None:
                raise KafkaException(KafkaError(_NO_LEADER))
            by_leader.setdefault(leader, []).append(part)
        found = {}
        for leader, parts in by_leader.items():
            bodies = [fetch_messages.ends_body(parts, committed) for committed in (True, False)]
            answers = self._cluster.asking(leader).ask_all(messages.LIST_OFFSETS, bodies)
            stable, high = map(fetch_messages.ends_of, answers)
            for part in parts:
                if part not in stable or part not in high:
                    raise KafkaException(KafkaError(KafkaError._BAD_MSG, f"nothing is said of {part}"))
                errors = stable[part][0], high[part][0]
                if any(errors):
                    self._cluster.leaders.pop(part, None)
                    raise KafkaException(KafkaError(max(errors)))
                found[part] = Ends(stable[part][1], high[part][1])
        return found

    def exchange(self, timeout_s: float, at_once: bool = False) -> bool:
        """Ask for what nobody asks for yet, and wait for answers; whether any came.

        at_once : brokers need not wait until there is something
        """
        self.ask(at_once)
        if not self._asked:  # there is nobody to ask, or all is paused, or enough is here
            time.sleep(min(timeout_s, _AGAIN_S))
            return False
        came = False
        if readable(self._asked, timeout_s):
            for connection in list(self._asked):
                came |= self._receive(connection)
        lost_s = time.monotonic() - _LOST_S
        for connection in [connection for connection, (_, since_s) in self._asked.items() if since_s < lost_s]:
            self._fail(connection, KafkaError(KafkaError._TIMED_OUT, "no answer to a fetch"))
        return came

    def ask(self, at_once: bool = False) -> None:
        """Send a request to each broker that has something for us and is not asked already."""
        now_s = time.monotonic()
        low = [
            part
            for part, course in self._courses.items()
            if part not in self._paused and not course.under_way and course.not_before_s <= now_s and course.is_low
        ]
        if unknown := [part for part in low if part not in self._cluster.leaders]:
            self._find(unknown)
        wanted: dict[Broker, list[Partition]] = {}
        for part in low:
            if (leader := self._cluster.leaders.get(part)) is not None:
                wanted.setdefault(leader, []).append(part)
        for leader, parts in wanted.items():
            self._ask_one(leader, parts, at_once)

    def _find(self, unknown: list[Partition]) -> None:
        """Ask who leads these; those that nobody leads are left alone for a moment."""
        try:
            errors = self._cluster.refresh({part.topic for part in unknown})
        except KafkaException as refused:
            self.failures.append((refused.args[0], "asking who leads the partitions"))
            errors = {}
        for part in unknown:
            if part not in self._cluster.leaders:
                self._failed(part, errors.get(part, errors.get(Partition(part.topic, -1), _NO_LEADER)))

    def _failed(self, part: Partition, code: int) -> None:
        """Leave a partition alone for a moment; tell of what waiting does not cure."""
        course, now_s = self._courses[part], time.monotonic()
        course.not_before_s = now_s + _AGAIN_S
        if course.failing_since_s is None:
            course.failing_since_s = now_s
        if code in _STALE:
            self._cluster.leaders.pop(part, None)
            if now_s - course.failing_since_s < _PATIENCE_S:
                return
        # librdkafka's own code for it, which tells what to do
        code = KafkaError._AUTO_OFFSET_RESET if code == KafkaError.OFFSET_OUT_OF_RANGE else code
        self.failures.append((KafkaError(code), f"reading {part} from offset {course.asked}"))

    def _ask_one(self, leader: Broker, parts: list[Partition], at_once: bool) -> None:
        try:
            connection = self._cluster.connection(leader)
            if connection is None or connection in self._asked:
                return  # these are asked for later
            share = max(self._most_bytes // len(parts), _LEAST_BYTES)
            positions = {part: self._courses[part].asked for part in parts}
            limits = (
                0 if at_once else self._wait_ms,
                self._least_bytes,
                self._most_bytes,
                min(self._most_part_bytes, share),
            )
            connection.send(messages.FETCH, fetch_messages.fetch_body(positions, *limits))
        except KafkaException as refused:
            self.failures.append((refused.args[0], f"reading from {leader}"))
            self._cluster.failed(leader)
            return
        for part in parts:
            self._courses[part].under_way = True
        self._asked[connection] = set(parts), time.monotonic()

    def _answered(self, connection: Connection) -> set[Partition]:
        """The partitions that were asked for; nothing is under way on the connection any more."""
        asked = self._asked.pop(connection)[0] & self._courses.keys()
        for part in asked:
            self._courses[part].under_way = False
        return asked

    def _drop(self, connection: Connection) -> None:
        """Want no answer any more."""
        self._answered(connection)
        self._cluster.disconnect(connection.broker)

    def _fail(self, connection: Connection, error: KafkaError) -> None:
        self.failures.append((error, f"reading from {connection.broker}"))
        self._answered(connection)
        self._cluster.failed(connection.broker)

    def _receive(self, connection: Connection) -> bool:
        try:
            answer = connection.receive(0.0)
            if answer is None:
                return False
            error, parts = fetch_messages.fetched_of(answer)
        except KafkaException as refused:
            self._fail(connection, refused.args[0])
            return False
        except ValueError as broken:
            self._fail(connection, KafkaError(KafkaError._BAD_MSG, str(broken)))
            return False
        asked = self._answered(connection)
        for part in asked if error else ():
            self._failed(part, error)
        for told in parts if not error else ():
            if told.partition in asked:
                self._take_in(told, answer.data)
        return True

    def _take_in(self, told: fetch_messages.Part, data: memoryview) -> None:
        if told.error:
            self._failed(told.partition, told.error)
            return
        course = self._courses[told.partition]
        course.failing_since_s = None
        try:
            found = list(batches.heads(data, told.begin, told.end))
            wanted = batches.visible(data, found, told.aborted)
        except CorruptBatchError as corrupt:
            self.failures.append((KafkaError(KafkaError._BAD_MSG, str(corrupt)), f"reading {told.partition}"))
            course.not_before_s = time.monotonic() + _AGAIN_S
            return
        if found and found[-1].last >= course.asked:
            course.take_in(data, wanted, found[-1].last + 1)
            # last in the next request: a full answer ends before the last ones
            self._courses[told.partition] = self._courses.pop(told.partition)
