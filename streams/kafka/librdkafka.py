"""Our own handles of librdkafka, through its public C API: the library inside the confluent-kafka wheel, by ctypes.

A handle here never meets one of confluent-kafka's: it aborts the process. Errors come as that package's `KafkaException`,
so that `kafka_errors` translates both clients' alike. What costs a day each is written where it is dealt with.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import sys
import weakref
from collections.abc import Mapping, Sequence
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_ssize_t, c_void_p
from functools import cache
from typing import Any, NamedTuple

import confluent_kafka
import numpy as np
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from numpy.typing import NDArray

from samestream.streams.kafka.errors import LOG

TESTED = (0x0210,)
"""The versions, major and minor, that the tests have run with; with others confluent-kafka's API is used."""

CONSUMER, PRODUCER = 1, 0  # rd_kafka_type_t
_CLOSED_ALREADY = 0x8  # RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE
_TEXT = 512  # bytes of an error's text
_LEVELS = {0: 50, 1: 50, 2: 50, 3: 40, 4: 30, 5: 20, 6: 20, 7: 10}  # of syslog, as logging's

_OnError = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_char_p, c_void_p)
_OnLog = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_char_p, c_char_p)


class _TopicPartition(ctypes.Structure):
    """`rd_kafka_topic_partition_t`."""

    _fields_ = (
        ("topic", c_char_p),
        ("partition", c_int32),
        ("offset", c_int64),
        ("metadata", c_void_p),
        ("metadata_size", c_size_t),
        ("opaque", c_void_p),
        ("err", c_int),
        ("private", c_void_p),
    )


class _PartitionList(ctypes.Structure):
    """`rd_kafka_topic_partition_list_t`."""

    _fields_ = (("count", c_int), ("size", c_int), ("elements", POINTER(_TopicPartition)))


_LIST = POINTER(_PartitionList)
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "version": (c_int, ()),
    "conf_new": (c_void_p, ()),
    "conf_destroy": (None, (c_void_p,)),
    "conf_set": (c_int, (c_void_p, c_char_p, c_char_p, c_char_p, c_size_t)),
    "conf_set_error_cb": (None, (c_void_p, _OnError)),
    "conf_set_log_cb": (None, (c_void_p, _OnLog)),
    "conf_set_dr_msg_cb": (None, (c_void_p, c_void_p)),
    "conf_set_opaque": (None, (c_void_p, c_void_p)),
    "new": (c_void_p, (c_int, c_void_p, c_char_p, c_size_t)),
    "set_log_queue": (c_void_p, (c_void_p, c_void_p)),
    "poll_set_consumer": (c_int, (c_void_p,)),
    "consumer_close": (c_int, (c_void_p,)),
    "destroy_flags": (None, (c_void_p, c_int)),
    "queue_get_consumer": (c_void_p, (c_void_p,)),
    "queue_destroy": (None, (c_void_p,)),
    "consume_batch_queue": (c_ssize_t, (c_void_p, c_int, c_void_p, c_size_t)),
    "message_timestamp": (c_int64, (c_void_p, c_void_p)),
    "message_destroy": (None, (c_void_p,)),
    "topic_name": (c_char_p, (c_void_p,)),
    "topic_new": (c_void_p, (c_void_p, c_char_p, c_void_p)),
    "topic_destroy": (None, (c_void_p,)),
    "topic_partition_list_new": (_LIST, (c_int,)),
    "topic_partition_list_add": (POINTER(_TopicPartition), (_LIST, c_char_p, c_int32)),
    "topic_partition_list_destroy": (None, (_LIST,)),
    "assign": (c_int, (c_void_p, _LIST)),
    "pause_partitions": (c_int, (c_void_p, _LIST)),
    "resume_partitions": (c_int, (c_void_p, _LIST)),
    "poll": (c_int, (c_void_p, c_int)),
    "flush": (c_int, (c_void_p, c_int)),
    "purge": (c_int, (c_void_p, c_int)),
    "produceva": (c_void_p, (c_void_p, c_void_p, c_size_t)),
    "init_transactions": (c_void_p, (c_void_p, c_int)),
    "begin_transaction": (c_void_p, (c_void_p,)),
    "commit_transaction": (c_void_p, (c_void_p, c_int)),
    "abort_transaction": (c_void_p, (c_void_p, c_int)),
    "send_offsets_to_transaction": (c_void_p, (c_void_p, _LIST, c_void_p, c_int)),
    "consumer_group_metadata_new": (c_void_p, (c_char_p,)),
    "consumer_group_metadata_destroy": (None, (c_void_p,)),
    "fatal_error": (c_int, (c_void_p, c_char_p, c_size_t)),
    "error_code": (c_int, (c_void_p,)),
    "error_string": (c_char_p, (c_void_p,)),
    "error_is_fatal": (c_int, (c_void_p,)),
    "error_is_retriable": (c_int, (c_void_p,)),
    "error_txn_requires_abort": (c_int, (c_void_p,)),
    "error_destroy": (None, (c_void_p,)),
}


class Library:
    """The functions of librdkafka, named without their prefix, with their signatures. Raises OSError where it is not found."""

    def __init__(self) -> None:
        library = _opened()
        for name, (result, arguments) in _SIGNATURES.items():
            try:
                function = getattr(library, f"rd_kafka_{name}")
            except AttributeError as error:
                raise OSError(str(error)) from error
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:  # for type checkers: what `__init__` sets is found without it
        raise AttributeError(name)

    def address(self, name: str) -> int:
        """Where a function lies, for compiled code."""
        return ctypes.cast(getattr(self, name), c_void_p).value or 0


def _opened() -> ctypes.CDLL:
    """The very file that confluent-kafka has loaded; where that was built on this machine, what it is linked with."""
    for file in importlib.metadata.files("confluent-kafka") or ():
        if file.name.startswith("librdkafka") and (".so" in file.suffixes or file.suffix in (".dylib", ".dll")):
            return ctypes.CDLL(str(file.locate()))
    return ctypes.CDLL(confluent_kafka.cimpl.__file__)


@cache
def library() -> Library:
    """The library, opened once. Raises OSError where it cannot be used; the message says why."""
    if sys.maxsize < 2**32 or sys.byteorder != "little":
        raise OSError("only 64-bit little-endian machines are known")
    found = Library()
    version = found.version()
    if version != confluent_kafka.libversion()[1] or version >> 16 not in TESTED:
        raise OSError(f"version {version:#010x} is not one that was tested")
    return found


@cache
def unusable() -> str:
    """Why there are no own handles here; empty where there are."""
    try:
        library()
    except OSError as error:
        return str(error)
    return ""


class Report(NamedTuple):
    """Compiled code that is told of every delivery, and the words it keeps for that."""

    function: int
    words: NDArray[np.int64]


class Handle:
    """A producer or consumer of our own; closed when it is forgotten, and never at the end of the process.

    errors : what librdkafka has told since somebody looked; whoever polls empties it

    Open it after a fork. Raises KafkaException for a property that librdkafka refuses.
    """

    def __init__(self, kind: int, properties: Mapping[str, Any], report: Report | None = None) -> None:
        self.library = library()
        self.errors: list[KafkaError] = []
        text = ctypes.create_string_buffer(_TEXT)
        conf = self.library.conf_new()
        # librdkafka's own threads must not run Python: what they log waits for a poll
        for name, value in {**properties, "log.queue": True}.items():
            told = ("true" if value else "false") if isinstance(value, bool) else str(value)
            code = self.library.conf_set(conf, name.encode(), told.encode(), text, _TEXT)
            if code:
                self.library.conf_destroy(conf)
                raise KafkaException(KafkaError(KafkaError._INVALID_ARG, text.value.decode()))
        # without references from here the callbacks would be freed while librdkafka calls them
        self._callbacks = _OnError(_error_note(self.library, self.errors)), _OnLog(_log)
        self.library.conf_set_error_cb(conf, self._callbacks[0])
        self.library.conf_set_log_cb(conf, self._callbacks[1])
        if report is not None:
            self.library.conf_set_dr_msg_cb(conf, report.function)
            self.library.conf_set_opaque(conf, report.words.ctypes.data)
        self.pointer: int = self.library.new(kind, conf, text, _TEXT)
        if not self.pointer:
            self.library.conf_destroy(conf)
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, text.value.decode()))
        check_error(self.library.set_log_queue(self.pointer, None))
        self.queue = 0
        if kind == CONSUMER:
            check(self.library.poll_set_consumer(self.pointer))
            self.queue = self.library.queue_get_consumer(self.pointer)
        self._topics: dict[str, int] = {}
        needed = (self._callbacks, report)
        self._finalizer = weakref.finalize(self, _destroy, self.library, self.pointer, self.queue, self._topics, needed)
        self._finalizer.atexit = False

    def topic(self, name: str) -> int:
        """The handle of a topic, kept as long as this one. Raises KafkaException for a name that cannot be one."""
        if name not in self._topics:
            topic = self.library.topic_new(self.pointer, name.encode(), None)
            if not topic:
                raise KafkaException(KafkaError(KafkaError._INVALID_ARG, f"no name of a topic: {name!r}"))
            self._topics[name] = topic
        return self._topics[name]

    def fatal(self) -> KafkaError | None:
        """The error after which this handle can do nothing more, if there was one, such as having been fenced."""
        return _fatal(self.library, self.pointer)

    def destroy(self) -> None:
        """Give everything back; twice does no harm. Undestroyed messages or lists would make this hang."""
        self._finalizer()


def _destroy(library: Library, pointer: int, queue: int, topics: dict[str, int], _needed: object) -> None:
    for topic in topics.values():  # first: destroying the handle would wait for them
        library.topic_destroy(topic)
    if queue:
        library.consumer_close(pointer)
        library.queue_destroy(queue)
    library.destroy_flags(pointer, _CLOSED_ALREADY if queue else 0)


def _error_note(library: Library, errors: list[KafkaError]) -> Any:
    def note(handle: int, code: int, reason: bytes | None, _opaque: int) -> None:
        told = KafkaError(code, (reason or b"").decode(errors="replace"))
        errors.append(_fatal(library, handle) or told)

    return note


def _fatal(library: Library, pointer: int) -> KafkaError | None:
    text = ctypes.create_string_buffer(_TEXT)
    code = library.fatal_error(pointer, text, _TEXT)
    return KafkaError(code, text.value.decode(errors="replace"), True) if code else None


def _log(_handle: int, level: int, facility: bytes | None, message: bytes | None) -> None:
    said = (facility or b"").decode(errors="replace"), (message or b"").decode(errors="replace")
    LOG.log(_LEVELS.get(level, 20), "%s %s", *said)


def check(code: int) -> None:
    """Raise KafkaException unless the code is that of success."""
    if code:
        raise KafkaException(KafkaError(code))


def check_error(error: int | None) -> None:
    """Raise KafkaException for an error object, which is given back; None is success."""
    if error:
        known = library()
        try:
            raise KafkaException(
                KafkaError(
                    known.error_code(error),
                    (known.error_string(error) or b"").decode(errors="replace"),
                    bool(known.error_is_fatal(error)),
                    bool(known.error_is_retriable(error)),
                    bool(known.error_txn_requires_abort(error)),
                )
            )
        finally:
            known.error_destroy(error)


class Partitions:
    """A list of partitions that librdkafka reads; a context, since a forgotten list makes `Handle.destroy` hang."""

    def __init__(self, partitions: Sequence[TopicPartition]) -> None:
        self._partitions = partitions

    def __enter__(self) -> Any:
        known = library()
        self._list = known.topic_partition_list_new(max(len(self._partitions), 1))
        for part in self._partitions:
            added = known.topic_partition_list_add(self._list, part.topic.encode(), part.partition)
            added.contents.offset = part.offset
        return self._list

    def __exit__(self, *_: object) -> None:
        library().topic_partition_list_destroy(self._list)


def string_at(address: int, length: int) -> str:
    """The text at an address; nothing at 0."""
    return ctypes.string_at(address, length).decode(errors="replace") if address else ""
