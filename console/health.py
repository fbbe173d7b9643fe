"""The health endpoint: `/health` for orchestrators, `/metrics` for Prometheus."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from samestream.console.crew import Crew, Lags
from samestream.console.metrics import metrics
from samestream.console.progress import rejected
from samestream.console.reading import instant
from samestream.schemas.errors import SettingsError


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
            "stalls": [stall._asdict() for stall in list(health.stalls)],
            "stalled_seconds": round(time.monotonic() - since_s, 1) if (since_s := health.stalled_since) else 0.0,
            "batch_seconds": round(health.last_batch_s, 4),
            "held_bytes": health.held_bytes,
            "watermark_delay_seconds": {
                str(part): (health.known_us - time_us) / 1e6
                for part, time_us in sorted(dict(health.watermarks_us).items())
            },
            "snapshot_at": instant(health.snapshot_us) if health.snapshot_us else None,
            "seconds": round(time.monotonic() - health.started, 1),
        }
    silent_us = lags.silent_since_us
    state = "disconnected" if silent_us and crew.state in ("starting", "running") else crew.state
    return {"state": state, "broker_silent_since": instant(silent_us) if silent_us else None, "roles": roles}
