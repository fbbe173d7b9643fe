"""The documentation runs: every Python block, and the commands of a console, in order, in one session per document."""

from __future__ import annotations

import ast
import doctest
import inspect
import json
import re
import shlex
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.error import HTTPError

import pytest
from typer.testing import CliRunner

from samestream import monitors
from samestream.console import main, settings
from samestream.monitors import checks, declared, watch
from samestream.monitors.diagnosis import VERDICTS
from samestream.schemas import avro, records
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Snippet(NamedTuple):
    line: int  # of its first line in the document, from 1
    code: str
    is_console: bool = False


def snippets(document: Path) -> Iterator[Snippet]:
    text = document.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        yield Snippet(text.count("\n", 0, found.start(2)) + 1, found[2], found[1] == "console")


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The names of one session; `folder` is an empty one. It is a module, since classes look up the one they are made in."""
    module = ModuleType("documentation")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    vars(module)["folder"] = tmp_path
    return vars(module)


def run(document: Path, space: dict[str, Any]) -> int:
    """Run a document's blocks: those with a prompt as doctests, commands as typed, the others as they stand.

    Returns how many there were.
    """
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.FAIL_FAST)
    count = 0
    for line, code, is_console in snippets(document):
        count += 1
        if is_console:
            type_in(code, f"{document.name}:{line}")
        elif re.search(r"^>>> ", code, re.MULTILINE):
            test = doctest.DocTestParser().get_doctest(code, space, f"{document.name}:{line}", str(document), line - 1)
            said: list[str] = []
            failed = runner.run(test, out=said.append, clear_globs=False).failed
            assert not failed, "".join(said)
            space.update(test.globs)
        else:
            # blank lines in front, so that a trace names the line of the document
            exec(compile("\n" * (line - 1) + code, str(document), "exec", dont_inherit=True), space)
    return count


def type_in(code: str, where: str) -> None:
    """Run the commands of a console, `$ samestream ...`; what they print must be what the document shows, where it shows any."""
    for typed, shown in re.findall(r"^\$ samestream (.*)\n((?:(?!\$ ).*\n)*)", code, re.MULTILINE):
        done = CliRunner().invoke(main.app, shlex.split(typed), prog_name="samestream")
        assert done.exit_code == 0, f"{where}: {done.output}"
        if shown:
            assert [line.rstrip() for line in done.stdout.splitlines()] == shown.splitlines(), where


class Webhook(BaseHTTPRequestHandler):
    """Fails at the first post, and takes all others."""

    posted: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(500 if len(self.posted) == 1 else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a webhook, and what is posted there."""
    Webhook.posted = []
    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", Webhook.posted
        server.shutdown()
        thread.join()


def test_how_it_works(session: dict[str, Any]) -> None:
    assert run(ROOT / "docs" / "how_it_works.md", session) > 20


def test_applications(session: dict[str, Any]) -> None:
    assert run(ROOT / "docs" / "applications.md", session) > 6


def test_declaring_monitors(
    session: dict[str, Any],
    tmp_path: Path,
    webhook: tuple[str, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    document, transport = ROOT / "docs" / "declaring_monitors.md", MemoryTransport(MemoryBroker())
    monkeypatch.setattr(settings, "connect", lambda _: transport)
    (tmp_path / "orders.py").write_text(next(snippets(document)).code)
    session["transport"] = transport
    assert run(document, session) > 12
    url, posted = webhook
    told = {"transport": transport, "start": "earliest", "idle_s": 0.2}
    with pytest.raises(HTTPError):
        session["page"](url, **told)
    assert [one["text"].split(",")[0] for one in posted] == ["bad_values: LateOrder.minutes"]
    session["page"](url, **told)
    assert posted[1:] == posted[:1]  # what failed is posted again
    session["page"](url, **told)
    assert len(posted) == 2  # what was taken is not


def test_every_check_option_verdict_and_refusal_of_monitors_is_written_down() -> None:
    text = (ROOT / "docs" / "declaring_monitors.md").read_text(encoding="utf-8")
    calls = [getattr(monitors, name) for name in monitors.__all__ if name != "Monitors"]
    options = [option for call in calls for option in inspect.signature(call).parameters]
    options += [name for name in inspect.signature(monitors.Monitors.__init_subclass__).parameters if name != "options"]
    told = [f"`{call.__name__}(" for call in calls] + [f"| `{option}` |" for option in options]
    told += [f"`{verdict}`" for verdict in VERDICTS]
    refused = [part for module in (checks, declared, watch) for part in _problems(Path(inspect.getfile(module)))]
    assert len(refused) > 12
    assert [one for one in [*told, *refused] if one not in text] == []


def _problems(module: Path) -> Iterator[str]:
    """What the declaration errors of a module say first; of what is put together, the parts that are fixed."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "DeclarationError":
            yield from (
                part.value
                for part in ast.walk(node.args[0])
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )


def test_the_bytes_for_other_languages_are_as_written() -> None:
    text = (ROOT / "docs/applications.md").read_text()
    fields = [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ]
    ping = {"type": "record", "name": "Ping", "fields": fields}
    assert f"has `{avro.schema_fingerprint(ping).hex()}`" in text
    (line,) = re.findall("^c3 01 .*", text, re.MULTILINE)
    assert bytes.fromhex(line) == avro.Codec(ping).encode({"id": "a7", "at": 1_700_000_000_000_000})
    assert f"fingerprint `{avro.schema_fingerprint(records.SCHEMA).hex()}`" in text


def test_readme(session: dict[str, Any]) -> None:
    document = ROOT / "README.md"
    if not any(snippets(document)):
        pytest.skip("the README has no Python blocks")
    run(document, session)


def headings(document: Path) -> set[str]:
    """The anchors of a document, as GitHub makes them of its headings."""
    said = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in said}


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))], ids=lambda path: path.name
)
def test_links_lead_to_headings_that_exist(document: Path) -> None:
    linked = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text(encoding="utf-8"))
    there = [(document.parent / target if target else document, anchor) for target, anchor in linked]
    assert [f"{path.name}#{anchor}" for path, anchor in there if anchor not in headings(path)] == []


@pytest.mark.parametrize("document", sorted(ROOT.glob("docs/**/*.md")), ids=lambda path: path.name)
def test_documents_name_files_that_exist(document: Path) -> None:
    """Links between documents, and code paths such as `streams/plan.py`."""
    text = document.read_text(encoding="utf-8")
    linked = [document.parent / target for target in re.findall(r"\]\((?!https?:)([^)#]+)", text)]
    named = [
        ROOT / path
        for path in re.findall(
            r"`((?:schemas|streams|trainers|monitors|console|examples|tests|docs)/[\w./]+\.\w+)`", text
        )
    ]
    assert [str(path) for path in linked + named if not path.exists()] == []
