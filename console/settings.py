"""Settings: from `samestream.toml`, the environment and the command line; and the connection they describe."""

from __future__ import annotations

import json
import socket
import threading
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as BadVariable

from samestream.schemas.errors import SettingsError, TransportError
from samestream.streams.transport import Transport

FILE = "samestream.toml"
PREFIX = "SAMESTREAM_"
ANSWER_S = 5.0
"""How long a broker may take to answer the first question."""


class Settings(BaseSettings):
    """Where Kafka, the feature log and the artifacts are, and which deployment is meant.

    The command line wins over ``SAMESTREAM_...`` variables, these over `samestream.toml` in the working folder;
    `properties` are merged name by name.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    bootstrap: str | None = None
    properties: dict[str, str] = Field(default_factory=dict, repr=False)  # may hold a password
    folder: Path = Path(".samestream")
    registry_url: str = ""
    namespace: str = ""
    log: str = ""
    artifacts: str = ""
    state: str = ""
    snapshot_every: float = Field(default=60.0, ge=0)

    @field_validator("properties", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return _flat(value) if isinstance(value, Mapping) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, environment, file: the first that says something wins."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=_from_file(Path(FILE)))

    @property
    def kafka_folder(self) -> Path:
        """Where the local broker keeps its data."""
        return self.folder / "kafka"

    @property
    def log_uri(self) -> str:
        """Root of the feature log: a folder, or any URI that pyarrow knows."""
        return self.log or str(self.folder / "log")

    @property
    def state_folder(self) -> Path:
        """Where the snapshots of state are: a local folder."""
        return Path(self.state) if self.state else self.folder / "state"

    @property
    def artifacts_uri(self) -> str:
        """Root of the trained models: of those of the namespace."""
        root = self.artifacts or str(self.folder / "artifacts")
        address, mark, options = root.partition("?")
        return f"{address.rstrip('/')}/{self.namespace}{mark}{options}" if self.namespace else root


def load(**given: Any) -> Settings:
    """The settings, where `given` are those of the command line; None and empty ones were not given.

    Raises SettingsError naming the setting, whether it comes from the file, the environment or the command line.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value not in (None, {}, [])})
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(
            "no such setting" if first["type"] == "extra_forbidden" else f"a setting is wrong: {first['msg']}",
            where=".".join(map(str, first["loc"])),
            expected=", ".join(Settings.model_fields),
            hint=f"look at {FILE} and the {PREFIX}* variables; docs/operations.md lists the settings.",
        ) from error
    except BadVariable as error:
        raise SettingsError(
            "a variable cannot be read",
            where="environment",
            found=str(error),
            hint=f"""{PREFIX}PROPERTIES is a JSON object: '{{"security.protocol": "SSL"}}'.""",
        ) from error


def parse_properties(given: list[str]) -> dict[str, str]:
    """``name=value`` pairs as a mapping. Raises SettingsError for one without an equals sign."""
    found = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise SettingsError(
                "a property is written NAME=VALUE",
                where="--property",
                found=name,
                hint="for example --property security.protocol=SSL.",
            )
        found[name.strip()] = value
    return found


def connect(settings: Settings) -> Transport:
    """Kafka as the settings describe it, known to answer.

    Raises TransportError within about `ANSWER_S` seconds where nothing answers.
    """
    bootstrap = settings.bootstrap or _local(settings)
    if not any(_listens(*address) for address in _addresses(bootstrap)):
        raise TransportError(
            "nothing answers at this address", where=bootstrap, hint="start a local Kafka: `samestream up`."
        )
    from samestream.streams.kafka.errors import kafka_error
    from samestream.streams.kafka.transport import KafkaTransport
    from samestream.streams.wire.registry import Registry

    try:
        registry = Registry(settings.registry_url) if settings.registry_url else None
        transport = KafkaTransport(bootstrap, settings.properties, registry)
    except Exception as error:  # nothing has been asked of the broker yet
        refused = kafka_error(error)
        if refused.name() != "_INVALID_ARG":
            raise
        # it may know a property by another name than the one given; then all of them are named
        named = [name for name in settings.properties if name in refused.str()] or list(settings.properties)
        raise SettingsError(
            "librdkafka refuses a property",
            where=f"property {', '.join(named)}",
            found=refused.str(),
            hint="its CONFIGURATION.md lists the names and what they may be; see --property and [properties].",
        ) from error
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            transport.topics()
        except BaseException as error:
            failed.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ANSWER_S)
    if failed:
        raise failed[0]
    if asking.is_alive():
        raise TransportError(
            f"something listens there, but does not answer as a Kafka within {ANSWER_S:g} s",
            where=bootstrap,
            hint="compare the security.*, sasl.* and ssl.* properties with the broker's listener.",
        )
    return transport


def _local(settings: Settings) -> str:
    from samestream.streams.kafka.local_kafka import LocalKafka

    status = LocalKafka(settings.kafka_folder).status()
    if status.bootstrap is None:
        raise TransportError(
            "there is no Kafka to talk to",
            where=str(settings.kafka_folder),
            found=status.detail,
            expected="a local broker that runs, or an address",
            hint="start one with `samestream up`, or name yours: --bootstrap HOST:PORT.",
        )
    return status.bootstrap


def _addresses(bootstrap: str) -> list[tuple[str, int]]:
    """The hosts and ports of a bootstrap list; ``SSL://`` and the like are passed over, 9092 is Kafka's default."""
    found = []
    for part in bootstrap.split(","):
        host, colon, port = part.strip().rpartition("://")[2].rpartition(":")
        if not colon or port.endswith("]"):
            host, port = f"{host}{colon}{port}", "9092"
        if not port.isdecimal() or not host.strip("[]"):
            raise SettingsError(
                "not an address",
                where="bootstrap",
                found=part,
                expected="HOST:PORT[,HOST:PORT...]",
                hint="127.0.0.1:9092",
            )
        found.append((host.strip("[]"), int(port)))
    return found


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=ANSWER_S / 2).close()
    except (OSError, OverflowError):
        return False
    return True


def _from_file(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(
            "the file cannot be read", where=str(path.absolute()), found=str(error), hint="correct it, or move it away."
        ) from error
    if isinstance(found.get("properties"), dict):
        found["properties"] = _flat(found["properties"])
    return found


def _flat(properties: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """librdkafka's dotted names, which TOML reads as nested tables unless they are quoted; its values are text."""
    found: dict[str, str] = {}
    for name, value in properties.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return found
