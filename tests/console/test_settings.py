"""Settings: who wins, and what is said of a wrong one; the connection that is refused soon."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from samestream.console import settings
from samestream.schemas.errors import SettingsError, TransportError


def test_defaults_lie_in_the_working_folder() -> None:
    found = settings.load()
    assert (found.bootstrap, found.properties) == (None, {})
    assert (found.kafka_folder, found.log_uri) == (Path(".samestream/kafka"), ".samestream/log")
    assert found.artifacts_uri == ".samestream/artifacts"
    assert settings.load(folder=Path("x")).log_uri == "x/log"


def test_the_command_line_wins_over_the_environment_and_this_over_the_file(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nowhere / "samestream.toml").write_text('bootstrap = "file:1"\nlog = "file"\nartifacts = "s3://file"\n')
    monkeypatch.setenv("SAMESTREAM_BOOTSTRAP", "variable:1")
    monkeypatch.setenv("SAMESTREAM_LOG", "variable")
    found = settings.load(bootstrap="line:1", log=None)
    assert (found.bootstrap, found.log_uri, found.artifacts_uri) == ("line:1", "variable", "s3://file")


def test_properties_are_merged_name_by_name(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nowhere / "samestream.toml").write_text(
        '[properties]\nsasl.username = "file"\n"sasl.password" = "secret"\nenable.ssl = true\nlinger.ms = 5\n'
    )
    monkeypatch.setenv("SAMESTREAM_PROPERTIES", '{"sasl.mechanism": "PLAIN", "linger.ms": 6}')
    found = settings.load(properties=settings.parse_properties(["sasl.username=a=b"]))
    assert found.properties == {
        "sasl.username": "a=b",
        "sasl.password": "secret",
        "enable.ssl": "true",
        "linger.ms": "6",
        "sasl.mechanism": "PLAIN",
    }
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("bootstap = 'x:1'", "bootstap: no such setting"),
        ("bootstrap = 7", "bootstrap: a setting is wrong"),
        ("bootstrap = ", "samestream.toml: the file cannot be read"),
    ],
)
def test_a_wrong_file_is_told(nowhere: Path, content: str, says: str) -> None:
    (nowhere / "samestream.toml").write_text(content)
    with pytest.raises(SettingsError) as caught:
        settings.load()
    assert says in caught.value.line


def test_a_wrong_variable_or_property_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="NAME=VALUE"):
        settings.parse_properties(["sasl.username"])
    monkeypatch.setenv("SAMESTREAM_PROPERTIES", "{nonsense")
    with pytest.raises(SettingsError, match="JSON object"):
        settings.load()


@pytest.mark.parametrize(
    ("bootstrap", "addresses"),
    [
        ("a:1,b:2", [("a", 1), ("b", 2)]),
        ("SASL_SSL://broker.example:9093", [("broker.example", 9093)]),
        ("broker", [("broker", 9092)]),
        ("[::1]:9094, [::1]", [("::1", 9094), ("::1", 9092)]),
    ],
)
def test_bootstrap_lists(bootstrap: str, addresses: list[tuple[str, int]]) -> None:
    assert settings._addresses(bootstrap) == addresses


@pytest.mark.parametrize("bootstrap", ["", "broker:port", ":9092"])
def test_what_is_no_address(bootstrap: str) -> None:
    with pytest.raises(SettingsError, match="not an address"):
        settings._addresses(bootstrap)


def test_nothing_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began_s = time.monotonic()
    with pytest.raises(TransportError, match="samestream up") as caught:
        settings.connect(settings.load(bootstrap=f"127.0.0.1:{port}"))
    assert caught.value.where == f"127.0.0.1:{port}"
    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize(
    ("properties", "where"),
    [
        ({"foo": "1", "client.id": "x"}, "property foo"),
        ({"security.protocol": "SASLL"}, "property security.protocol"),
        ({"linger.ms": "soon"}, "property linger.ms"),  # which librdkafka knows by another name
    ],
)
def test_a_property_that_librdkafka_refuses(properties: dict[str, str], where: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(SettingsError, match="librdkafka refuses a property") as caught,
    ):
        settings.connect(settings.load(bootstrap=f"127.0.0.1:{mute.getsockname()[1]}", properties=properties))
    assert caught.value.where == where


def test_something_answers_that_is_no_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ANSWER_S", 0.3)
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(TransportError, match="does not answer as a Kafka"),
    ):
        settings.connect(settings.load(bootstrap=f"127.0.0.1:{mute.getsockname()[1]}"))


def test_without_a_local_broker_it_says_how_to_get_one() -> None:
    with pytest.raises(TransportError) as caught:
        settings.connect(settings.load())
    assert "samestream up" in caught.value.hint
    assert "--bootstrap" in caught.value.hint
