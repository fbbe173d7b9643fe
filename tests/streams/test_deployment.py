"""What a broker says against a declaration: what its topics still hold, and how they are made."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from harness import PLAN, SHOP, encode, send

from samestream.schemas.app import load
from samestream.streams.deploy import preflight, provision
from samestream.streams.deploy.declaration import recorded
from samestream.streams.deploy.deployment import differing, examine
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.transport import Partition

MINUTE_US = 60_000_000
FILE = str(Path(__file__).parents[1] / "support" / "shop.py")
FLEET = Path(__file__).parents[1] / "support" / "fleet.py"


class Cut(MemoryTransport):
    """A log whose topics have lost their first record, as retention does."""

    def starts(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """One later than it really is, where there is a record."""
        return {part: 1 if self.ends([part])[part].stable else 0 for part in partitions}


def _told(kept_minutes: int) -> list[tuple[str, str, str]]:
    transport = Cut(MemoryBroker())
    provision.provision(transport, SHOP, PLAN)
    now_us = int(time.time() * 1_000_000)
    for minutes in (kept_minutes + 60, kept_minutes, 1):
        known_us = now_us - minutes * MINUTE_US
        send(transport, [encode(PLAN, "View", "u", known_us, user="u", product="p", seconds=1.0, at=known_us)])
    found = examine(transport, SHOP, PLAN, provision.topics(SHOP, PLAN))
    return [(one.code, one.where, one.what.partition(" ago")[0]) for one in found]


def test_a_topic_whose_beginning_is_gone_must_reach_back_as_far_as_the_windows() -> None:
    assert _told(kept_minutes=600) == []  # its longest window is an hour
    ((code, topic, what),) = _told(kept_minutes=30)
    assert (code, topic) == ("retention", "shop.views")
    assert what.startswith("what is left of it begins ")


def test_a_topic_with_all_its_records_holds_enough_however_young_it_is() -> None:
    transport = MemoryTransport(MemoryBroker())
    provision.provision(transport, SHOP, PLAN)
    known_us = int(time.time() * 1_000_000)
    send(transport, [encode(PLAN, "View", "u", known_us, user="u", product="p", seconds=1.0, at=known_us)])
    assert examine(transport, SHOP, PLAN, provision.topics(SHOP, PLAN)) == []


@pytest.mark.parametrize("kept", ['retention="90d"', "compact=True"])
def test_a_table_that_is_looked_up_is_kept_for_ever_and_whole(tmp_path: Path, kept: str) -> None:
    fleet = tmp_path / "fleet.py"
    fleet.write_text(FLEET.read_text().replace('topic="fleet.planes"', f'topic="fleet.planes", {kept}'))
    app = load(str(fleet))
    plan, transport = compile_app(app), MemoryTransport(MemoryBroker())
    (told,) = examine(transport, app, plan, provision.topics(app, plan))
    assert (told.code, told.where) == ("retention", "fleet.planes")
    assert "lookups find records of any age in it" in told.what
    assert [one.where for one in preflight.findings(app, plan) if one.verdict == "fail"] == ["Plane"]


def test_names_of_events_may_differ_in_the_case_of_a_letter_only(tmp_path: Path) -> None:
    file, source = tmp_path / "ground.py", (FLEET.parent / "ground.py").read_text()
    file.write_text(source.replace("class Departure(", "class PLANE(").replace("Departure.", "PLANE."))
    app = load(str(file))
    assert [one for one in preflight.findings(app, compile_app(app)) if one.verdict == "fail"] == []


def test_a_field_may_not_come_back_as_something_else(tmp_path: Path) -> None:
    source, transport, refused = FLEET.read_text(), MemoryTransport(MemoryBroker()), []
    for number, kind in enumerate(["int", "", "str", "float"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        extra = f"    seats: Field[{kind} | None] = field()\n" if kind else ""
        (folder / "fleet.py").write_text(source.replace("    weight: Field", f"{extra}    weight: Field"))
        app = load(str(folder / "fleet.py"))
        plan = compile_app(app)
        found = examine(transport, app, plan, provision.topics(app, plan))
        refused.append([(one.code, one.where) for one in found if one.is_refused])
        if not refused[-1]:
            provision.provision(transport, app, plan)
    assert refused == [[], [], [("kind", "Plane.seats")], []]  # a float reads what was an int


def test_genuine_kafka_makes_topics_as_declared_and_keeps_the_declaration(broker: str) -> None:
    from samestream.streams.kafka.transport import KafkaTransport

    transport = KafkaTransport(broker, {})
    app = load(FILE, f"made-{secrets.token_hex(4)}")
    plan = compile_app(app)
    chosen = {"View": {"partitions": 3, "retention": "30d"}, "": {"min_insync": 1}}
    specs = provision.topics(app, plan, chosen=chosen)
    try:
        assert examine(transport, app, plan, specs) == []
        assert provision.provision(transport, app, plan, chosen=chosen).version == 1
        assert examine(transport, app, plan, specs) == []
        assert differing(transport, specs) == {}
        assert transport.topics()[app.within("shop.views")] == 3
        config = transport.topic_config(app.within("shop.views"))
        assert (config["retention.ms"], config["min.insync.replicas"]) == (str(30 * 86_400_000), "1")
        (kept,) = recorded(transport, plan.schemas)
        assert kept.fingerprint == plan.fingerprint
        assert provision.provision(transport, app, plan, chosen=chosen).version is None
        declared = provision.topics(app, plan)
        assert [one.code for one in examine(transport, app, plan, declared)] == ["partitions"] * 6
        assert differing(transport, declared) == {
            app.within("shop.views"): [("retention.ms", str(30 * 86_400_000), "-1")]
        }
    finally:
        transport.delete_topics([name for name in transport.topics() if name.startswith(app.within(""))])
        transport.close()
