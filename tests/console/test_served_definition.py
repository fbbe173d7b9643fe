"""Vectors of another definition than models and monitors know: told first, by everything that would else say that all is well."""

from __future__ import annotations

from pathlib import Path

import harness
import pytest

from samestream.console.served_definition import mismatches
from samestream.schemas.app import load
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.models import model_registry
from samestream.streams.models.model_registry import ModelVersion

from .conftest import Cli, serve

SHOP = Path(harness.__file__).with_name("shop.py")
DAY_US = 86_400_000_000


@pytest.fixture
def changed(transport: MemoryTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The shop, which served 300 events, and the same with a window changed, which served 300 more a day later."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    old = serve(transport, first, SHOP.read_text(), 300)
    new = second / "shop.py"
    new.write_text(SHOP.read_text().replace('mean(over="1h")', 'mean(over="2h")'))
    monkeypatch.setattr(harness, "START_US", harness.START_US + DAY_US)
    harness.send(transport, harness.shop_events(300))
    plan = compile_app(load(str(new)))
    harness.work_off(transport, FeatureTask(plan), plan)
    harness.write_log(transport, FeatureLog(tmp_path / ".samestream" / "log"), plan)
    return old, new


def publish_champion(transport: MemoryTransport, module: Path) -> str:
    plan = compile_app(load(str(module)))
    mark = plan.models["Buys"].fingerprint
    version = ModelVersion("Buys", "v", harness.START_US, "log/v", "digest", mark, 7, "champion")
    model_registry.publish(transport, plan.registry, version)
    return mark


def test_the_list_of_incidents_begins_with_it_and_watchers_too(
    transport: MemoryTransport, changed: tuple[Path, Path], cli: Cli
) -> None:
    old, new = changed
    marks = [compile_app(load(str(module))).models["Buys"].fingerprint for module in (old, new)]
    publish_champion(transport, old)
    made = sum(len(part) for part in transport.read_all("shop.features.Buys"))
    (found,) = mismatches(transport, compile_app(load(str(old))))
    for options in ((), ("--open",), ("--watchers",)):
        first = cli("monitor", old, *options).stdout.splitlines()[0]
        assert first.startswith(
            f"warning: Buys: the newest vectors are of another definition ({marks[1]} since 2023-11-15T22:13:"
        )
        assert f"Z, {found.served_vectors} vectors) than this module's ({marks[0]}): " in first
        assert f": the champion, of {marks[0]}, scores none of them. Hint: " in first
    # as many as were made since, of all that were made
    assert (found.served_vectors, made) == (_of_definition(transport, new), 2 * found.served_vectors)
    # beside JSON it is told where nobody parses it
    done = cli("monitor", old, "--json")
    assert (done.stdout, done.stderr.startswith("warning: Buys: the newest")) == ("", True)


def test_the_module_that_serves_now_is_told_only_of_the_champion(
    transport: MemoryTransport, changed: tuple[Path, Path], cli: Cli
) -> None:
    old, new = changed
    assert cli("monitor", new).stdout.splitlines()[0] == "no incidents"  # no champion: `check` says so
    mark = publish_champion(transport, old)
    served = compile_app(load(str(new))).models["Buys"].fingerprint
    assert cli("monitor", new).stdout.splitlines()[0] == (
        f"warning: Buys: the newest vectors are of definition {served}: the champion, of {mark}, scores none of them."
        " Hint: `samestream train MODULE`, or run features with the module that the champion was trained with."
    )
    publish_champion(transport, new)
    assert cli("monitor", new).stdout.splitlines()[0] == "no incidents"


def test_parity_warns_and_does_not_leave_as_if_all_were_well(changed: tuple[Path, Path], cli: Cli) -> None:
    old, new = changed
    done = cli("parity", old, "--no-sql")
    assert done.exit_code == 1
    assert "vectors of another definition were passed over" in done.stdout
    assert "warning: Buys: the newest vectors are of another definition" in done.stderr
    assert "Buys: the newest vectors were not compared. Found: vectors of another definition" in done.stderr
    # what another definition served before is history: it is counted, and no reason to fail
    done = cli("parity", new, "--no-sql")
    assert done.exit_code == 0, done.output
    assert "vectors of another definition were passed over" in done.stdout


def _of_definition(transport: MemoryTransport, module: Path) -> int:
    mark = compile_app(load(str(module))).models["Buys"].fingerprint.encode()
    return sum(mark in (value or b"") for part in transport.read_all("shop.features.Buys") for value in part.values)
