"""Which of three clients reads and writes: our own words, our own handles of librdkafka, or confluent-kafka's API.

- ``direct``: Kafka's protocol spoken by ourselves, for readers and transactional writers, over plain connections; all else
  (topics, groups, applications' producers) is as ``native``. The quickest.
- ``native``: own handles of the library inside the confluent-kafka wheel. TLS and SASL, and every property it knows.
- ``python``: confluent-kafka's own API.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from samestream.schemas.errors import SettingsError
from samestream.streams.kafka import librdkafka

CLIENTS = ("direct", "native", "python")

CLIENT = "SAMESTREAM_KAFKA_CLIENT"
"""The variable that forces one of them."""

_SECRET = ("sasl.", "ssl.", "enable.ssl.", "enable.sasl.")
_HEEDED = {
    *("bootstrap.servers", "client.id", "security.protocol", "receive.message.max.bytes"),
    *("check.crcs", "fetch.max.bytes", "fetch.message.max.bytes", "fetch.min.bytes", "fetch.wait.max.ms"),
    *("batch.size", "compression.type", "message.max.bytes", "transaction.timeout.ms"),
    # of groups, which are librdkafka's in any case
    *("session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms"),
}


def chosen(client: str = "", properties: Mapping[str, Any] = {}) -> str:
    """Which client to use, from the argument, else the environment, else the quickest that can do what is asked.

    properties : librdkafka's, as given by whoever runs this
    Raises SettingsError for another name, and for a client that cannot be used here.
    """
    wanted = client or os.environ.get(CLIENT, "")
    if wanted not in ("", *CLIENTS):
        raise SettingsError("no such Kafka client", where=CLIENT, found=wanted, expected=" or ".join(CLIENTS))
    unusable = librdkafka.unusable()
    more = _secret(properties) or ", ".join(sorted(properties.keys() - _HEEDED))
    if wanted == "native" and unusable:
        hint = f"unset {CLIENT}, or install a confluent-kafka whose librdkafka is known."
        raise SettingsError("librdkafka cannot be used", where=CLIENT, found=unusable, hint=hint)
    if wanted == "direct" and (more or unusable):
        hint = f"unset {CLIENT}: then another client is chosen, which does the same."
        expected = "only properties that it heeds" if more else ""
        raise SettingsError(
            "the direct client cannot be used", where=CLIENT, found=more or unusable, expected=expected, hint=hint
        )
    if wanted:
        return wanted
    if unusable:
        return "python"
    return "native" if more else "direct"


def is_plain(properties: Mapping[str, Any]) -> bool:
    """Whether connections are neither encrypted nor authenticated."""
    return not _secret(properties)


def _secret(properties: Mapping[str, Any]) -> str:
    """The property that asks for more than plain connections; empty where none does.

    >>> _secret({"security.protocol": "SASL_SSL"}), _secret({"security.protocol": "plaintext"})
    ('security.protocol=SASL_SSL', '')
    """
    for name, value in properties.items():
        if name == "security.protocol" and str(value).lower() != "plaintext":
            return f"{name}={value}"
        if name.startswith(_SECRET):
            return name
    return ""
