"""Where an application's producers and consumers find the log: a Kafka of theirs, or a transport that is handed in."""

from __future__ import annotations

import os
from collections.abc import Mapping

from samestream.schemas.errors import SettingsError
from samestream.streams.transport import Transport
from samestream.streams.wire.registry import Registry

REGISTRY_URL = "SAMESTREAM_REGISTRY_URL"
"""The variable that names the schema registry of an application, if there is one."""


class Connection:
    """A transport, which is closed in the end only if it was opened here.

    bootstrap : Kafka's address, HOST:PORT[,HOST:PORT...]
    properties : any librdkafka properties (SASL, TLS, timeouts)
    transport : one that is open already, instead of the address
    Raises SettingsError unless exactly one of address and transport is given.
    """

    def __init__(
        self,
        who: str,
        bootstrap: str,
        properties: Mapping[str, str],
        transport: Transport | None,
    ) -> None:
        if (transport is None) == (not bootstrap):
            raise SettingsError(
                "it must be said where the log is",
                where=who,
                found="neither an address nor a transport" if transport is None else "an address and a transport",
                expected="one of bootstrap=... and transport=...",
                hint=f'{who}(app, bootstrap="localhost:9092"); for tests transport=MemoryTransport(MemoryBroker()).',
            )
        self._owned = transport is None
        if transport is None:
            from samestream.streams.kafka.transport import KafkaTransport

            url = os.environ.get(REGISTRY_URL)
            registry = Registry(url) if url else None
            transport = KafkaTransport(bootstrap, properties, registry)
        self.transport = transport

    def close(self) -> None:
        """Close what was opened here; twice does no harm."""
        if self._owned:
            self._owned = False
            self.transport.close()
