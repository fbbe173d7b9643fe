"""Fields of texts: what is told does not depend on how events were handed over, and fields of too many are let go of."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from samestream.monitors.incidents import DAY_US, HOUR_US, Finding
from samestream.monitors.side_by_side import texts_side_by_side
from samestream.monitors.source_spec import SourceSpec
from samestream.monitors.sources import TICK_US, SourceFamily, SourceWatch
from samestream.monitors.text_codes import TextCodes
from samestream.monitors.text_watch import MANY, TextWatch

DAYS = 22
STRUCK_US, END_US = DAYS * DAY_US + 9 * HOUR_US, DAYS * DAY_US + 15 * HOUR_US
Columns = Mapping[str, np.ndarray]
FIELDS = ("origin", "dest", "plane")


class Fed:
    """A source of three fields of texts, and what was told of it: cause, verdict, evidence, instant."""

    def __init__(self) -> None:
        self.watch = SourceWatch(
            SourceSpec("Flight", (), {}, {}, 0, False, FIELDS),
            silence_us=None,
            quality=True,
        )
        self.family = SourceFamily({"Flight": self.watch}, 0.5)
        self.told: list[tuple[str, str, dict[str, Any], int]] = []
        self.findings: list[Finding] = []

    def feed(self, times: np.ndarray, columns: Columns, until_us: int, there: np.ndarray | None = None) -> None:
        valid = np.ones(len(times), np.bool_) if there is None else there
        fields = {name: (values, valid) for name, values in columns.items()}
        self.watch.add(times, times, fields, [f"f{at}" for at in times.tolist()], None)
        self.family.advance(until_us, self._observe)

    def _observe(self, cause: str, findings: Sequence[Finding], at_us: int) -> bool:
        self.findings = list(findings)
        self.told += [(cause, one.verdict, dict(one.whole(None)), at_us) for one in findings]
        return bool(findings)

    @property
    def limits(self) -> list[float]:
        return np.concatenate([part.limits for part in self.watch.detectors]).tolist()


def flights(days: int, seed: int = 7) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Thirty flights an hour. Some towns and planes are new on any day; towns to fly to are others than those to fly from."""
    rng = np.random.default_rng(seed)
    n = days * 24 * 30
    times = np.sort(rng.integers(0, days * DAY_US, n))
    towns = (40 * rng.random((2, n)) ** 2).astype(int)
    planes = (rng.random(n) ** 2 * (100 + times // DAY_US * 5)).astype(int)
    return times, {
        "origin": np.array([f"from {at}" for at in towns[0]], object),
        "dest": np.array([f"to {at}" for at in towns[1]], object),
        "plane": np.array([f"N{at}" for at in planes], object),
    }


def fed(times: np.ndarray, columns: Columns, step_us: int, until_us: int) -> Fed:
    source = Fed()
    for at_us in range(0, until_us, step_us):
        end_us = min(at_us + step_us, until_us)
        rows = slice(*np.searchsorted(times, [at_us, end_us]).tolist())
        source.feed(times[rows], {name: values[rows] for name, values in columns.items()}, end_us)
    return source


def swapped(times: np.ndarray, columns: Columns, from_us: int) -> dict[str, np.ndarray]:
    hit = times >= from_us
    origin, dest = columns["origin"], columns["dest"]
    return {**columns, "origin": np.where(hit, dest, origin), "dest": np.where(hit, origin, dest)}


@pytest.mark.parametrize("fault", ["swapped", "new_category", "respelled"])
def test_limits_and_what_is_told_do_not_depend_on_batches(fault: str) -> None:
    times, columns = flights(DAYS + 1)
    hit = times >= STRUCK_US
    if fault == "swapped":
        columns = swapped(times, columns, STRUCK_US)
    elif fault == "respelled":
        columns["dest"][hit] = [text.upper() for text in columns["dest"][hit]]
    else:
        columns["dest"][hit] = "nowhere"
    once, often = (fed(times, columns, step_us, END_US) for step_us in (END_US, 7 * HOUR_US + 7 * TICK_US))
    assert fault in {verdict for _, verdict, _, _ in once.told}
    assert once.told == often.told
    assert once.limits == often.limits
    assert np.isfinite(once.limits).any()


def test_texts_as_common_as_each_other_are_told_in_the_order_of_the_alphabet() -> None:
    usual = np.log(np.array([0.25, 0.5, 0.25]))
    here = texts_side_by_side(usual, np.array([2, 0]), ["b", "c", "a"])
    there = texts_side_by_side(usual[[2, 0, 1]], np.array([0, 1]), ["a", "b", "c"])
    assert here == there
    assert here["histogram"]["texts"] == ["a", "b", "c", None]


def test_spellings_as_common_as_each_other_and_those_gone_are_told_in_the_order_of_the_alphabet() -> None:
    watch = TextWatch("Flight.dest", TextCodes())
    known = np.array(["b 1", "B1", "z", "y"] * 50, object)
    for _ in range(5):
        watch.look(watch.number(known), np.arange(len(known)), 12)
        watch.close_day(learn=True)
        watch.detectors.restart()
    watch.detectors.limits[:] = 5.0
    new = np.array(["b-1"] * 200, object)
    evidence = next(one.evidence for one in watch.look(watch.number(new), np.arange(200), 12) if "gone" in one.evidence)
    assert evidence["known_as"] == {"b-1": "B1"}
    assert evidence["gone"] == ["B1", "b 1", "y", "z"]


def test_shares_do_not_depend_on_how_many_texts_other_fields_hold() -> None:
    shares = []
    for others in (0, 5000):
        codes = TextCodes()
        codes.of([f"other {at}" for at in range(others)])
        watch = TextWatch("Flight.dest", codes)
        for _ in range(3):
            watch.look(watch.number(np.array(["a", "b", "a"], object)), np.arange(3), 12)
            watch.close_day(learn=True)
        assert watch.table is not None
        shares.append(np.exp(watch.table.usual[others:]).tolist())
    assert shares[0] == shares[1]


def test_of_a_field_of_too_many_texts_no_more_are_held_than_those_and_what_a_tick_brings() -> None:
    source = Fed()
    n = 3 * MANY
    times = np.linspace(0, DAY_US - 1, n).astype(np.int64)
    columns = {
        "origin": np.array([f"from {at % 40}" for at in range(n)], object),
        "dest": np.array([f"to {at % 40}" for at in range(n)], object),
        "plane": np.array([f"N{at}" for at in range(n)], object),
    }
    source.feed(times, columns, DAY_US - TICK_US)  # in one piece, and no midnight has come
    a_tick = -(-n // (DAY_US // TICK_US))
    assert [text.crowded for text in source.watch.texts] == [False, False, True]
    assert MANY <= len(source.watch._codes.said) <= MANY + a_tick + 80


def test_two_fields_are_exchanged_no_more_once_one_holds_too_many_texts() -> None:
    times, columns = flights(DAYS + 1)
    columns = swapped(times, columns, STRUCK_US)
    until = times < STRUCK_US + 3 * HOUR_US
    source = Fed()
    source.feed(times[until], {name: values[until] for name, values in columns.items()}, STRUCK_US + 3 * HOUR_US)
    (finding,) = (one for one in source.findings if one.verdict == "swapped")
    assert finding.whole(None)["examples"]
    assert list(source.watch.text_swaps.detectors.active)

    n = MANY + 10
    more = np.sort(np.random.default_rng(1).integers(STRUCK_US + 3 * HOUR_US, STRUCK_US + 4 * HOUR_US, n))
    many = {
        "origin": np.array([f"no town {at}" for at in range(n)], object),
        "dest": np.array(["from 1"] * n, object),
        "plane": np.array(["N1"] * n, object),
    }
    source.feed(more, many, STRUCK_US + 4 * HOUR_US)
    assert [text.crowded for text in source.watch.texts] == [True, False, False]
    # what was found before may be told after: no event can be named any more
    told = finding.whole(STRUCK_US)
    assert "examples" not in told
    assert "histogram" not in told
    swaps = source.watch.text_swaps
    pairs = [at for at, pair in enumerate(swaps.pairs) if 0 in pair]
    assert not set(pairs) & set(swaps.detectors.active)
    assert swaps.detectors.levels[pairs].tolist() == swaps.detectors.peaks[pairs].tolist() == [0.0, 0.0]
    # nor is another day judged by what it was
    rest = times >= STRUCK_US + 4 * HOUR_US
    source.told = []
    source.feed(times[rest], {name: values[rest] for name, values in columns.items()}, (DAYS + 1) * DAY_US)
    assert "swapped" not in {verdict for _, verdict, _, _ in source.told}
    assert swaps.detectors.levels[pairs].tolist() == [0.0, 0.0]
