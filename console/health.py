"""The health endpoint: `/health` for orchestrators, `/metrics` for Prometheus."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from samestream.console.crew import Crew, Lags
from samestream.console.progress import rejected
from samestream.console.reading import instant
from samestream.schemas.errors import SettingsError
from samestream.streams.engine.measures import Measure, measures_of

Sample = tuple[dict[str, str], float]


class HealthServer:
    """Serves how a crew is doing, on `port`, from a thread of its own, until closed.

    Raises SettingsError where the port cannot be had.
    """

    def __init__(self, crew: Crew, lags: Lags, host: str, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/health":
                    found = report(crew, lags)
                    body = json.dumps(found, ensure_ascii=False).encode()
                    self._answer(200 if found["state"] in ("running", "standby") else 503, "application/json", body)
                elif self.path == "/metrics":
                    self._answer(200, "text/plain; version=0.0.4; charset=utf-8", metrics(crew, lags).encode())
                else:
                    self._answer(404, "text/plain", b"there are /health and /metrics\n")

            def _answer(self, code: int, kind: str, body: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Be silent: probes come every few seconds."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise SettingsError(
                "the health port cannot be had",
                where=f"{host}:{port}",
                found=str(error),
                hint="choose another --health-port; 0 takes any.",
            ) from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def report(crew: Crew, lags: Lags) -> dict[str, Any]:
    """How the crew is doing, as `/health` tells it. known_time is in microseconds UTC, 0 before the first batch.

    The state is `disconnected` where no broker answers, whatever the roles believe; `broker_silent_since` says since when.
    """
    roles = {}
    for role in crew.roles:
        health, (late, dead) = role.health, rejected(role)
        roles[health.name] = {
            "state": health.state,
            "batches": health.batches,
            "events": health.events,
            "results": health.results,
            "late": late,
            "dead": dead,
            "lag": lags.of(role),
            "known_time": health.known_us,
            "stalled_by": list(health.stalled_by),
            "seconds": round(time.monotonic() - health.started, 1),
        }
    silent_us = lags.silent_since_us
    state = "disconnected" if silent_us and crew.state in ("starting", "running") else crew.state
    return {"state": state, "broker_silent_since": instant(silent_us) if silent_us else None, "roles": roles}


def metrics(crew: Crew, lags: Lags) -> str:
    """The same in Prometheus' text format."""
    health = [role.health for role in crew.roles]
    decisions = ("applied", "late", "dead")
    events: list[Sample] = [
        ({"role": one.name, "topic": topic, "decision": decision}, getattr(balance, decision))
        for one in health
        for topic, balance in list(one.balances.items())
        for decision in decisions
    ]
    lines = [
        *_family("events_total", "counter", "Events judged, by what became of them.", events),
        *_family("batches_total", "counter", "Batches committed.", (({"role": h.name}, h.batches) for h in health)),
        *_family("results_total", "counter", "Records written.", (({"role": h.name}, h.results) for h in health)),
        *_family(
            "lag",
            "gauge",
            "Records in the topics that are not yet judged.",
            (({"role": role.health.name}, lags.of(role)) for role in crew.roles),
        ),
        *_family(
            "stalled",
            "gauge",
            "Partitions that are waited for.",
            (({"role": h.name}, len(h.stalled_by)) for h in health),
        ),
        *_family("running", "gauge", "Whether it runs.", (({"role": h.name}, h.state == "running") for h in health)),
        *_family("broker_up", "gauge", "Whether a broker has answered lately.", [({}, lags.silent_since_us is None)]),
        *_family(
            "known_time_seconds",
            "gauge",
            "Known time reached, in seconds since 1970.",
            (({"role": h.name}, h.known_us / 1e6) for h in health),
        ),
        *_measured(crew),
    ]
    return "\n".join(lines) + "\n"


def _measured(crew: Crew) -> Iterator[str]:
    """The figures that roles offer themselves, and what watches the monitors."""
    families: dict[str, list[Measure]] = {}
    for owner in (*crew.roles, *crew.others):
        for measure in measures_of(owner):
            families.setdefault(measure.name, []).append(measure)
    for name, found in families.items():
        yield from _family(name, found[0].kind, found[0].says, ((dict(one.labels), one.value) for one in found))


def _family(name: str, kind: str, says: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP samestream_{name} {says}"
    yield f"# TYPE samestream_{name} {kind}"
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"samestream_{name}{f'{{{inside}}}' if inside else ''} {float(value):.15g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
