"""What is compiled is kept on disk, and made again when anything that went into it has changed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

ALIKE = "from samestream.streams.engine.compiling import compiled\n"
INNER = ALIKE + "NUMBER = {number}\n@compiled\ndef inner(x: int) -> int:\n    return x + {more}\n"
MIDDLE = ALIKE + "from {inner} import inner\n@compiled\ndef middle(x: int) -> int:\n    return inner(x)\n"
OUTER = ALIKE + (
    "from {inner} import NUMBER\nfrom {middle} import middle\n"
    "@compiled\ndef outer(x: int) -> int:\n    return middle(x) + NUMBER\n"
)


def made_anew(names: tuple[str, str, str]) -> Any:
    """The outermost function, as another process would import it."""
    for name in names:
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return importlib.import_module(names[2]).outer


@pytest.mark.parametrize(("number", "more", "expected"), [(10, 200, 211), (30, 2, 33)])
def test_a_change_in_another_file_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, more: int, expected: int
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    names = tuple(f"{part}_{number}" for part in ("inner", "middle", "outer"))
    texts = [part.replace("{inner}", names[0]).replace("{middle}", names[1]) for part in (INNER, MIDDLE, OUTER)]
    for name, text in zip(names, texts, strict=True):
        (tmp_path / f"{name}.py").write_text(text.format(number=10, more=2))
    assert made_anew(names)(1) == 13
    again = made_anew(names)
    assert (again(1), sum(again.stats.cache_hits.values())) == (13, 1)
    (tmp_path / f"{names[0]}.py").write_text(texts[0].format(number=number, more=more))
    assert made_anew(names)(1) == expected
