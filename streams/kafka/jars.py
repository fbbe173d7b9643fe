"""The jars of Apache Kafka: pinned by checksum, fetched once, kept in a cache folder.

`kafka_jars.sha256` beside this file names every jar by its path in a Maven repository, in the format of `sha256sum`.
It is the whole runtime of `org.apache.kafka:kafka_2.13` plus the bridge from its log calls to log4j. To move to another
Kafka, replace that file; nothing else holds a version.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from samestream.schemas.errors import BrokerError, BrokerUnavailableError

Progress = Callable[[str], None]

PINNED = Path(__file__).with_name("kafka_jars.sha256")
# The plugin is pinned too: an unpinned one would be whatever is newest on the day.
COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
STALE_S = 3600.0


@dataclass(frozen=True)
class Jar:
    """One pinned jar; `path` is group/artifact/version/file as in any Maven repository."""

    sha256: str
    path: str

    @property
    def name(self) -> str:
        """The file name."""
        return self.path.rsplit("/", 1)[1]

    @property
    def dependency(self) -> str:
        """The jar as a pom names it."""
        *group, artifact, version, _ = self.path.split("/")
        parts = {"groupId": ".".join(group), "artifactId": artifact, "version": version}
        # Every jar is named by the data file, so what a jar itself asks for is left out: nothing unpinned is resolved.
        alone = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
        named = "".join(f"<{tag}>{text}</{tag}>" for tag, text in parts.items())
        return f"<dependency>{named}{alone}</dependency>"


def pinned_jars() -> list[Jar]:
    """Every jar Kafka needs, in the order of the data file."""
    return [Jar(*line.split()) for line in PINNED.read_text("ascii").splitlines()]


def kafka_version() -> str:
    """The pinned release of Apache Kafka.

    >>> kafka_version().split(".")[0]
    '4'
    """
    return next(jar.path.split("/")[-2] for jar in pinned_jars() if "/kafka_2.13/" in jar.path)


def cache_folder() -> Path:
    """`$SAMESTREAM_CACHE`, or `~/.cache/samestream`."""
    return Path(os.environ.get("SAMESTREAM_CACHE") or Path.home() / ".cache" / "samestream").expanduser().absolute()


def kafka_jars(on_progress: Progress | None = None) -> Path:
    """A folder with exactly the pinned jars, fetched on the first call and checked on every call (0.05 s for 44 MB).

    They come from `$SAMESTREAM_MAVEN_REPOSITORY` where that is set; else by `mvn` where it is installed, which honours
    the user's mirrors and settings; else, or should mvn fail, from the public Maven repository.

    Raises
    ------
    BrokerError
        The jars cannot be fetched, or one of them is not the pinned one.
    """
    jars, cache = pinned_jars(), cache_folder()
    folder = cache / f"kafka-{kafka_version()}-{hashlib.sha256(PINNED.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _sweep(cache)
        # Fetched beside its final place and renamed: whoever is killed half-way leaves nothing that looks complete.
        fetching = Path(tempfile.mkdtemp(prefix=".fetching-", dir=cache))
        try:
            _fetch(jars, fetching / "jars", on_progress or (lambda _line: None))
            verify(jars, fetching / "jars")
            try:
                (fetching / "jars").rename(folder)
            except OSError:
                if not folder.exists():  # else another process was quicker with the same jars
                    raise
        finally:
            shutil.rmtree(fetching, ignore_errors=True)
    verify(jars, folder)
    return folder


def verify(jars: list[Jar], folder: Path) -> None:
    """Compare every jar in `folder` with its pinned checksum.

    Raises
    ------
    BrokerError
        A jar is missing or differs.
    """
    for jar in jars:
        path = folder / jar.name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no such file"
        if found != jar.sha256:
            raise BrokerError(
                f"{jar.name} is not the jar that is pinned",
                where=str(path),
                found=found,
                expected=f"sha256 {jar.sha256}",
                hint=f"delete {folder} and try again; if it recurs, your repository, mirror or local Maven cache "
                "serves an altered jar",
            )


def _fetch(jars: list[Jar], into: Path, on_progress: Progress) -> None:
    """Bring the jars into the folder `into`, which is made here."""
    chosen, mvn = os.environ.get("SAMESTREAM_MAVEN_REPOSITORY"), shutil.which("mvn")
    if chosen or not mvn:
        _download(jars, into, chosen or _public_repository(), on_progress)
        return
    try:
        _copy_by_maven(mvn, jars, into, on_progress)
    except BrokerError as failure:
        on_progress("mvn could not fetch Kafka: downloading it instead")
        shutil.rmtree(into, ignore_errors=True)
        try:
            _download(jars, into, _public_repository(), on_progress)
        except BrokerError as second:
            raise BrokerUnavailableError(
                "Kafka can be fetched neither by mvn nor by download",
                found=f"{failure.what}: {failure.found}; {second.what}: {second.found}",
                hint=second.hint,
            ) from second


def _public_repository() -> str:
    """The address of the public Maven repository, as a Maven client knows it: addresses are its business, not ours."""
    try:
        from maven_artifact import Downloader
    except ImportError as error:
        raise BrokerUnavailableError(
            "neither mvn nor the Maven client of Python is there to fetch Kafka with",
            found=str(error),
            hint="pip install 'samestream[demo]', install mvn, or set SAMESTREAM_MAVEN_REPOSITORY to a repository.",
        ) from error
    return str(Downloader().resolver.base)


def _copy_by_maven(mvn: str, jars: list[Jar], into: Path, on_progress: Progress) -> None:
    """Let mvn resolve the pinned jars, each named in a pom of its own, and copy them."""
    pom = into.with_name("pom.xml")
    pom.write_text(
        "<project><modelVersion>4.0.0</modelVersion>"
        "<groupId>samestream</groupId><artifactId>local-kafka</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{''.join(jar.dependency for jar in jars)}</dependencies></project>",
        encoding="ascii",
    )
    on_progress(f"Fetching Kafka {kafka_version()} by mvn ({len(jars)} jars, 44 MB)")
    command = [mvn, "-B", "-f", str(pom), COPY_GOAL, f"-DoutputDirectory={into}"]
    lines: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if match := re.search(r"Downloaded from \S+: \S+/(\S+\.jar)", line):
                on_progress(match[1])
    if process.returncode:
        told = [line for line in lines if "ERROR" in line][:3] or lines[-3:]
        raise BrokerError(
            f"mvn exited with {process.returncode}",
            where=COPY_GOAL,
            found=" | ".join(told),
            hint="check ~/.m2/settings.xml, or set SAMESTREAM_MAVEN_REPOSITORY to a repository that can be reached",
        )


def _download(jars: list[Jar], into: Path, repository: str, on_progress: Progress) -> None:
    """Read every jar from a repository of the standard layout, four at a time."""
    into.mkdir(parents=True)
    on_progress(f"Downloading Kafka {kafka_version()} ({len(jars)} jars, 44 MB)")
    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(_download_one, jar, into, repository) for jar in jars]
        try:
            for number, (jar, task) in enumerate(zip(jars, tasks, strict=True), 1):
                task.result()
                on_progress(f"{number} of {len(jars)}: {jar.name}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _download_one(jar: Jar, into: Path, repository: str) -> None:
    """Read one jar, trying three times where trying again can help."""
    url = f"{repository.rstrip('/')}/{jar.path}"
    for attempt in (1, 2, 3):
        try:
            with urllib.request.urlopen(url, timeout=30) as response, (into / jar.name).open("wb") as file:
                shutil.copyfileobj(response, file)
                announced = response.headers.get("Content-Length")
                if announced and file.tell() != int(announced):
                    raise ConnectionError(f"the connection closed after {file.tell()} of {announced} bytes")
            return
        except (OSError, HTTPException, ValueError) as failure:  # ValueError: the address is malformed
            refused = isinstance(failure, urllib.error.HTTPError) and failure.code < 500
            if attempt == 3 or refused or isinstance(failure, ValueError) or urlsplit(url).scheme == "file":
                raise BrokerUnavailableError(
                    f"{jar.name} cannot be downloaded",
                    where=url,
                    found=str(failure),
                    hint="install mvn, set SAMESTREAM_MAVEN_REPOSITORY to a repository that can be reached, or use a "
                    "Kafka that runs already",
                ) from failure
            time.sleep(attempt)


def _sweep(cache: Path) -> None:
    """Remove what fetches killed more than an hour ago left behind."""
    for left in cache.glob(".fetching-*"):
        if time.time() - left.stat().st_mtime > STALE_S:
            shutil.rmtree(left, ignore_errors=True)
