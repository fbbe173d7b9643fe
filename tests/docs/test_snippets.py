"""The documentation runs: every Python block, in order, in one session per document."""

from __future__ import annotations

import doctest
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from samestream.schemas import avro, records

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Snippet(NamedTuple):
    line: int  # of its first line in the document, from 1
    code: str


def snippets(document: Path) -> Iterator[Snippet]:
    text = document.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        yield Snippet(text.count("\n", 0, found.start(1)) + 1, found[1])


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The names of one session; `folder` is an empty one. It is a module, since classes look up the one they are made in."""
    module = ModuleType("documentation")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    vars(module)["folder"] = tmp_path
    return vars(module)


def run(document: Path, space: dict[str, Any]) -> int:
    """Run a document's blocks: those with a prompt as doctests, the others as they stand. Returns how many there were."""
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.FAIL_FAST)
    count = 0
    for line, code in snippets(document):
        count += 1
        if re.search(r"^>>> ", code, re.MULTILINE):
            test = doctest.DocTestParser().get_doctest(code, space, f"{document.name}:{line}", str(document), line - 1)
            said: list[str] = []
            failed = runner.run(test, out=said.append, clear_globs=False).failed
            assert not failed, "".join(said)
            space.update(test.globs)
        else:
            # blank lines in front, so that a trace names the line of the document
            exec(compile("\n" * (line - 1) + code, str(document), "exec", dont_inherit=True), space)
    return count


def test_how_it_works(session: dict[str, Any]) -> None:
    assert run(ROOT / "docs" / "how_it_works.md", session) > 20


def test_applications(session: dict[str, Any]) -> None:
    assert run(ROOT / "docs" / "applications.md", session) > 6


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
