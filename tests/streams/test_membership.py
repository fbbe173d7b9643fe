"""How many members a group has is only told while the brokers can be relied on to know."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from samestream.streams.kafka import membership
from samestream.streams.kafka.membership import GroupCensus

AWAY = KafkaException(KafkaError(KafkaError._TRANSPORT))


class Admin:
    """An admin client of which the answers are set; it notes whether a coordinator was asked."""

    def __init__(self, *, brokers: int = 1) -> None:
        self.listed: list[Any] | KafkaException = []
        self.described: int | KafkaException = 0
        self.asked = 0
        self._brokers = dict.fromkeys(range(brokers))

    def list_groups(self, group: str, timeout: float) -> list[Any]:
        if isinstance(self.listed, KafkaException):
            raise self.listed
        return self.listed

    def list_topics(self, timeout: float) -> Any:
        return SimpleNamespace(brokers=self._brokers)

    def describe_consumer_groups(self, groups: list[str], request_timeout: float) -> dict[str, Future[Any]]:
        self.asked += 1
        future: Future[Any] = Future()
        if isinstance(self.described, KafkaException):
            future.set_exception(self.described)
        else:
            future.set_result(SimpleNamespace(members=[None] * self.described))
        return {groups[0]: future}


def group(members: int, error: KafkaError | None = None) -> Any:
    return SimpleNamespace(error=error, members=[None] * members)


@pytest.mark.parametrize("count", [0, 2])
def test_a_group_that_a_broker_holds_is_counted_there(count: int) -> None:
    admin = Admin()
    admin.listed = [group(count)]
    assert (GroupCensus(admin).members("g", 1.0), admin.asked) == (count, 0)


def test_one_that_none_holds_is_asked_of_its_coordinator() -> None:
    admin = Admin()
    admin.described = 1
    assert GroupCensus(admin).members("g", 1.0) == 1
    admin.described = KafkaException(KafkaError(KafkaError.GROUP_ID_NOT_FOUND))
    assert GroupCensus(admin).members("g", 1.0) == 0
    admin.described = KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
    with pytest.raises(KafkaException):
        GroupCensus(admin).members("g", 1.0)


def test_a_broker_that_is_away_and_one_that_is_just_back_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(membership.time, "monotonic", lambda: now)
    admin = Admin()
    census = GroupCensus(admin)
    admin.listed = AWAY
    with pytest.raises(KafkaException):
        census.members("g", 1.0)
    admin.listed = []  # it answers, but may not have read yet which groups it holds
    with pytest.raises(KafkaException, match="may not be back"):
        census.members("g", 1.0)
    assert admin.asked == 0
    admin.listed = [group(1)]
    assert census.members("g", 1.0) == 1
    admin.listed = []
    now += 10.0
    assert (census.members("g", 1.0), admin.asked) == (0, 1)


def test_one_of_several_brokers_that_is_away_does_not_keep_the_others_from_being_asked() -> None:
    admin = Admin(brokers=3)
    admin.listed, admin.described = AWAY, 1
    assert (GroupCensus(admin).members("g", 1.0), admin.asked) == (1, 1)
