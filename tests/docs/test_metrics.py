"""What docs/operations.md says of metrics: every one that it names is one that we have, and its rules can be read by Prometheus."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text()


def told() -> set[str]:
    """The names that stand as texts where figures are made."""
    sources = [
        path.read_text() for folder in ("console", "monitors", "streams") for path in (ROOT / folder).rglob("*.py")
    ]
    return {name for source in sources for name in re.findall(r'"([a-z]+(?:_[a-z]+)*)"', source)}


def rules() -> list[dict[str, Any]]:
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", TEXT, re.DOTALL)
    (group,) = yaml.safe_load(block)["groups"]
    return list(group["rules"])


def test_every_metric_that_is_named_is_one_that_we_have() -> None:
    named = set(re.findall(r"samestream_([a-z_]+[a-z])", TEXT))
    table = TEXT[TEXT.index("| metric | labels | meaning |") : TEXT.index("Worth an alarm:")]
    for row in table.splitlines()[2:]:
        named |= set(re.findall(r"`([a-z_]+)`", row.split("|")[1])) if row.startswith("|") else set()
    assert len(named) > 40
    assert named - told() == set()


def test_rules_name_metrics_that_we_have_and_tell_of_their_absence() -> None:
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    assert len(found) == len(rules())
    for expression in found.values():
        assert set(re.findall(r"samestream_([a-z_]+)", expression)) <= told()
    assert found["NobodyWatches"] == "absent(samestream_monitor_spoken)"
