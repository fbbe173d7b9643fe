"""A cable between clients and a broker that can be cut, or fall silent, and be mended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from samestream.streams.kafka.local_kafka import HOST, LocalKafka


class Proxy:
    """Passes bytes on between whoever connects to ``port`` and the target, both on loopback."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._open: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server = self._do(asyncio.start_server(self._serve, HOST, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.passed = 0

    def cut(self) -> None:
        """End every connection and let no other begin."""
        self._soon(self._end_all)

    def silence(self) -> None:
        """Keep every connection, and pass nothing on: neither side hears that anything is wrong."""
        self._soon(self._flowing.clear)

    def mend(self) -> None:
        """As at first. What was sent into the silence arrives now."""
        self._soon(self._flow)

    def close(self) -> None:
        """End it."""
        self.cut()
        self._soon(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _end_all(self) -> None:
        self._is_cut = True
        for writer in self._open:
            writer.transport.abort()

    def _flow(self) -> None:
        self._is_cut = False
        self._flowing.set()

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    def _soon(self, call: Callable[[], None]) -> None:
        async def called() -> None:
            call()

        self._do(called())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        self._open.add(writer)
        other: asyncio.StreamWriter | None = None
        # a broker that is down, a client that goes: neither is news
        with contextlib.suppress(OSError):
            from_broker, other = await asyncio.open_connection(HOST, self._target_port)
            self._open.add(other)
            await asyncio.gather(self._pass(reader, other), self._pass(from_broker, writer))
        for end in (writer, other):
            if end is not None:
                self._open.discard(end)
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._flowing.wait()
            writer.write(data)
            self.passed += len(data)
            await writer.drain()
        writer.transport.abort()


class ProxiedKafka(LocalKafka):
    """A Kafka with a second listener behind a proxy: who comes by `proxy` stays on it, the tests' own clients do not."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self._behind = probe.getsockname()[1]
        self.proxy = Proxy(self._behind)

    @property
    def proxied(self) -> str:
        """The address of the proxy."""
        return f"{HOST}:{self.proxy.port}"

    def _launch(self, *given: Any) -> Any:
        file = self.folder / "server.properties"
        lines = [self._also(line) for line in file.read_text("ascii").splitlines()]
        file.write_text("\n".join(lines) + "\n", "ascii")
        return super()._launch(*given)

    def _also(self, line: str) -> str:
        more = {
            "listeners": f",OUTER://{HOST}:{self._behind}",
            "advertised.listeners": f",OUTER://{self.proxied}",
            "listener.security.protocol.map": ",OUTER:PLAINTEXT",
        }
        return line + more.get(line.partition("=")[0], "")
