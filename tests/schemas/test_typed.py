"""What type checkers say of the user's side: nothing of what is right, and an error in every line that is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TYPED = ROOT / "tests" / "support" / "typed"
FOLDERS = ("schemas", "streams", "trainers", "monitors")


def wrong_lines(name: str, *marks: str) -> set[int]:
    """The lines that a file says are wrong: those that end in such a mark, or all below its mark."""
    lines = (TYPED / name).read_text().splitlines()
    below = lines.index("# wrong:") + 1 if "# wrong:" in lines else len(lines)
    return {number for number, line in enumerate(lines, 1) if line.endswith(marks) or (number > below and line)}


@pytest.fixture(scope="module")
def pyright(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[int]]:
    """The lines in which pyright, in strict mode, finds errors, by file: it does not follow links, so all is copied."""
    folder = tmp_path_factory.mktemp("pyright")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / "samestream" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TYPED, folder / "typed")
    settings = {"include": ["typed"], "extraPaths": ["."], "typeCheckingMode": "strict"}
    # what a line is wrong for is one error, not also that its value is unknown or unused
    quiet = ["UnusedExpression", "UnknownMemberType", "UnknownVariableType", "UnknownArgumentType"]
    settings |= {f"report{name}": False for name in quiet}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
    answer = json.loads(told.stdout)
    assert answer["summary"]["filesAnalyzed"] == len(list(TYPED.glob("*.py")))
    found: dict[str, set[int]] = {}
    for error in answer["generalDiagnostics"]:
        found.setdefault(Path(error["file"]).name, set()).add(error["range"]["start"]["line"] + 1)
    return found


@pytest.mark.parametrize("name", ["right.py", "app_right.py", "wrong.py", "app_wrong.py"])
def test_pyright_finds_every_wrong_line_and_no_other(name: str, pyright: dict[str, set[int]]) -> None:
    assert pyright.get(name, set()) == wrong_lines(name, "# wrong", "# wrong: pyright only")


@pytest.mark.parametrize("name", ["app_right.py", "app_wrong.py"])
def test_mypy_finds_every_wrong_line_and_no_other(name: str) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--namespace-packages", "--explicit-package-bases"]
    command += [f"--cache-dir={ROOT / '.mypy_cache'}", "--no-error-summary", str(TYPED / name)]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "build" / "typing")}
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=False).stdout.splitlines()
    assert {int(line.split(":")[1]) for line in told if ": error:" in line} == wrong_lines(name, "# wrong")
