"""A small schema registry over HTTP: subjects, versions, ids and compatibility levels, kept in memory, for tests.

It answers as Confluent's does, for the paths that its clients use. Whether a version is compatible is decided by
`schemas.evolution`, which its own tests compare with fastavro.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

from samestream.schemas.evolution import Level, check

Answer = tuple[int, Any]


class FakeRegistry:
    """What the registry knows. ``requests`` counts what was asked; ``broken`` makes it answer 503."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.subjects: dict[str, list[int]] = {}
        self.levels: dict[str, str] = {"": "BACKWARD"}
        self.requests: list[str] = []
        self.broken = False
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, method: str, path: str, body: Any) -> Answer:
        self.requests.append(f"{method} {path}")
        if self.broken:
            return 503, {"error_code": 50301, "message": "out of order"}
        for pattern, routed in ROUTES:
            verb, _, shape = pattern.partition(" ")
            if verb == method and (match := re.fullmatch(shape, path)):
                return routed(self, *map(unquote, match.groups()), **({"body": body} if body is not None else {}))
        return 404, {"error_code": 404, "message": f"no such path {method} {path}"}

    def register(self, subject: str, *, body: Any) -> Answer:
        text = body["schema"]
        if not self.compatible(subject, text):
            message = f"Schema being registered is incompatible with an earlier schema for subject {subject!r}"
            return 409, {"error_code": 409, "message": message}
        if text not in self.ids:
            self.ids.append(text)
        number = self.ids.index(text) + 1
        versions = self.subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return 200, {"id": number}

    def lookup(self, subject: str, *, body: Any) -> Answer:
        for version, number in enumerate(self.subjects.get(subject, []), 1):
            if self.ids[number - 1] == body["schema"]:
                return 200, self.version_of(subject, version)
        return 404, {"error_code": 40403 if subject in self.subjects else 40401, "message": "not found"}

    def by_id(self, number: str) -> Answer:
        if not 1 <= int(number) <= len(self.ids):
            return 404, {"error_code": 40403, "message": f"Schema {number} not found"}
        return 200, {"schema": self.ids[int(number) - 1]}

    def versions(self, subject: str) -> Answer:
        if subject not in self.subjects:
            return 404, {"error_code": 40401, "message": f"Subject {subject!r} not found."}
        return 200, [number + 1 for number in range(len(self.subjects[subject]))]

    def version(self, subject: str, version: str) -> Answer:
        if not 1 <= int(version) <= len(self.subjects.get(subject, [])):
            return 404, {"error_code": 40402, "message": f"Version {version} not found."}
        return 200, self.version_of(subject, int(version))

    def level(self, subject: str = "") -> Answer:
        if subject not in self.levels:
            return 404, {"error_code": 40408, "message": f"Subject {subject!r} does not have its own level"}
        return 200, {"compatibilityLevel": self.levels[subject]}

    def set_level(self, subject: str, *, body: Any) -> Answer:
        self.levels[subject] = body["compatibility"]
        return 200, body

    def test(self, subject: str, *, body: Any) -> Answer:
        return 200, {"is_compatible": self.compatible(subject, body["schema"])}

    def compatible(self, subject: str, text: str) -> bool:
        level = Level(self.levels.get(subject, self.levels[""]).lower())
        old = [json.loads(self.ids[number - 1]) for number in self.subjects.get(subject, [])]
        return not check(json.loads(text), old, level)

    def version_of(self, subject: str, version: int) -> Any:
        number = self.subjects[subject][version - 1]
        return {"subject": subject, "id": number, "version": version, "schema": self.ids[number - 1]}


ROUTES: tuple[tuple[str, Callable[..., Answer]], ...] = (
    (r"POST /subjects/([^/]+)/versions", FakeRegistry.register),
    (r"POST /subjects/([^/]+)", FakeRegistry.lookup),
    (r"GET /schemas/ids/(\d+)", FakeRegistry.by_id),
    (r"GET /subjects/([^/]+)/versions", FakeRegistry.versions),
    (r"GET /subjects/([^/]+)/versions/(\d+)", FakeRegistry.version),
    (r"GET /config", FakeRegistry.level),
    (r"GET /config/([^/]+)", FakeRegistry.level),
    (r"PUT /config/([^/]+)", FakeRegistry.set_level),
    (r"POST /compatibility/subjects/([^/]+)/versions", FakeRegistry.test),
)


@contextmanager
def running(port: int = 0, registry: FakeRegistry | None = None) -> Iterator[FakeRegistry]:
    """A registry that listens on loopback; an earlier one may be started again, on its port."""
    known = registry or FakeRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, answer = known.answer(self.command, urlparse(self.path).path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    known.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
