"""The systems that do the job: how each is started, and what it promises."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from events import PEER_ANSWER

from samestream.schemas import avro
from samestream.streams.kafka.java import find_java

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PEERS = ROOT / "build" / "peers"


@dataclass(frozen=True)
class System:
    """One system."""

    name: str
    exactly_once: bool = False

    @property
    def is_own(self) -> bool:
        return self.name.startswith("samestream")

    @property
    def is_streams(self) -> bool:
        return self.name.startswith("kafka streams")

    @property
    def patience(self) -> int:
        """How many times as long as others it may take: Java's compilers need it."""
        return 2 if self.is_streams else 1

    @property
    def is_framework(self) -> bool:
        """Whether it is one of the Python frameworks."""
        return self.name in ("quixstreams", "bytewax", "pathway", "faust")

    def absent(self) -> str:
        """Why it cannot run here; empty if it can."""
        if self.is_own or self.name == "plain loop":
            return ""
        needed = PEERS / ("streams/streams-peer.jar" if self.is_streams else f"{_VENV[self.name]}/.ready")
        if needed.exists():
            return ""
        log = PEERS / f"{'streams' if self.is_streams else _VENV[self.name]}.log"
        said = log.read_text("utf-8", "replace").strip().splitlines() if log.exists() else []
        return f"not installed: {said[-1][:200]}" if said else "not installed: make bench-peers"

    def command(
        self, bootstrap: str, source: str, target: str, folder: Path, partitions: int, quick_commits: bool
    ) -> Sequence[str]:
        """What starts it; of peers only."""
        if self.is_streams:
            java = [
                str(find_java().path),
                *JVM_FLAGS,
                "-cp",
                f"{PEERS}/streams/streams-peer.jar:{PEERS}/streams/jars/*",
            ]
            store = "rocksdb" if "rocksdb" in self.name else "memory"
            header = avro.Codec(PEER_ANSWER).header.hex()
            given = [str(HERE / "streams" / "streams.properties"), bootstrap, source, target, store, header]
            more = ["commit.interval.ms=10", "producer.linger.ms=0"] if quick_commits else []
            return [*java, "bench.Peer", *given, str(folder / "streams-state"), *more]
        venv = PEERS / _VENV[self.name] / "bin" / "python" if self.is_framework else Path(sys.executable)
        script = HERE / "peers" / f"{_SCRIPT[self.name]}.py"
        return [str(venv), str(script), bootstrap, source, target, str(folder), str(partitions)]


JVM_FLAGS = ["-Xms512m", "-Xmx2g", "-XX:+UseParallelGC", "-XX:-UsePerfData"]
_VENV = {"quixstreams": "quix", "bytewax": "bytewax", "pathway": "pathway", "faust": "faust"}
_SCRIPT = {
    "plain loop": "plain_loop",
    "quixstreams": "quix_peer",
    "bytewax": "bytewax_peer",
    "pathway": "pathway_peer",
    "faust": "faust_peer",
}
SYSTEMS = (
    System("samestream", exactly_once=True),
    System("plain loop"),
    System("kafka streams, memory", exactly_once=True),
    System("kafka streams, rocksdb", exactly_once=True),
    System("pathway"),
    System("bytewax"),
    System("quixstreams"),
    System("faust"),
)


def own_command(module: Path, bootstrap: str, namespace: str, folder: Path) -> Sequence[str]:
    """What starts samestream's feature role."""
    options = ["--bootstrap", bootstrap, "--folder", str(folder), *(["--namespace", namespace] if namespace else [])]
    return [str(Path(sys.executable).with_name("samestream")), "run", str(module), "features", *options]


def machine() -> str:
    """What this ran on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} cores of {model[1] if model else 'an unknown processor'}"
