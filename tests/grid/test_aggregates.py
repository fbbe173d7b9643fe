"""Every aggregate of every kind of input, in every engine, on every edge value: no cell is empty, and all agree."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import edges
import harness
import pytest
from edges import EDGES, INPUTS, ROWS, agrees
from engines import ENGINES, on_spark, read_back
from made_aggregates import MAKE
from oracle import Oracle

from samestream.schemas import aggregates as ag
from samestream.schemas.aggregates import Aggregate
from samestream.schemas.algebra import WORDS
from samestream.schemas.errors import DeclarationError
from samestream.streams.engine.feature_task import FeatureTask


def below(cls: type[Aggregate]) -> set[type[Aggregate]]:
    return {cls} | {found for sub in cls.__subclasses__() for found in below(sub)}


def test_every_class_has_a_row() -> None:
    declared = {cls for cls in below(Aggregate) if cls is not Aggregate and not cls.__name__.startswith("_")}
    ours = {cls for cls in declared if cls.__module__.startswith("samestream.schemas.")}
    assert ours == set(ag.AGGREGATES) == set(MAKE) == {case.cls for case in edges.cases()}


REFUSED = [case for case in edges.cases() if not case.made]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.cls.__name__}-{case.input}")
def test_a_combination_that_has_no_cell_is_refused(case: edges.Case) -> None:
    column = INPUTS[case.input]
    with pytest.raises(DeclarationError) as told:
        MAKE[case.cls][0](column)
    name = {"LastN": "last_n", "MostFrequent": "most_frequent", "DecayedSum": "decayed_sum"}.get(case.cls.__name__)
    name = name or {"DecayedMean": "decayed_mean"}.get(case.cls.__name__, case.cls.__name__.lower())
    if case.input == ROWS:
        assert str(told.value) == f"{name}: `{name}` needs values\nHint: aggregate a field."
        return
    taken = " or ".join(word for kind, word in WORDS.items() if kind in case.cls.accepts)
    assert str(told.value) == (
        f"Fact.{case.input}: `{name}` does not take {WORDS.get(column.kind, case.input)}\n"
        f"Found: {column.kind.value}\nExpected: {taken}\nHint: {case.cls.refusal}"
    )


def test_no_cell_is_empty_and_all_agree(tmp_path: Path, grids: dict[str, list[str]], spark: Any) -> None:
    app, plan, shown = edges.model()
    engines = {**ENGINES, "spark": (partial(on_spark, session=spark), 1e-9)}
    transport = harness.fresh(app, plan)
    harness.send(transport, edges.log(plan))
    harness.work_off(transport, FeatureTask(plan), plan)
    judge = Oracle(plan)
    log = judge.run([read for read in read_back(plan, transport) if read.event in plan.inputs])
    assert sorted(read.values["edge"] for read in log if read.decision != "applied") == ["late event"]
    edge_of = {(read.topic, read.partition, read.offset): read.values["edge"] for read in log if read.event == "Ask"}
    assert sorted(edge_of.values()) == sorted(EDGES)
    # by engine, edge and output
    found = {
        name: {edge_of[trigger]: vector for trigger, vector in compute(plan, transport, log, tmp_path / name).items()}
        for name, (compute, _) in engines.items()
    }
    expected = {edge_of[trigger]: vector for trigger, vector in judge.vectors.items()}
    wrong: list[str] = []
    lines = [f"{'aggregate':<18}{'input':<9}{'columnar by':<13}" + "".join(f"{name:>10}" for name in engines)]
    for case in edges.cases():
        name = f"{case.made[0].name}({case.input})" if case.made else ""
        if not case.made:
            lines.append(f"{case.cls.__name__:<18}{case.input:<9}{'refused':<13}" + f"{'refused':>10}" * len(engines))
            continue
        kinds = edges.edges_of(case.input)
        path = "kernel" if all(made.cells() for made in case.made) else "general path"
        cells = []
        for engine, (_, tolerance) in engines.items():
            good = 0
            for edge in kinds:
                told = found[engine].get(edge, {})
                bad = [
                    f"{engine}, {edge}: {output} is {told.get(output, 'missing')!r}, not {expected[edge][output]!r}"
                    for output, aggregate in shown[name]
                    if output not in told
                    or not agrees(told[output], expected[edge][output], aggregate, edge, tolerance)
                ]
                wrong += bad
                good += not bad
            cells.append(f"{good:>7}/{len(kinds)}"[-10:])
        lines.append(f"{case.cls.__name__:<18}{case.input:<9}{path:<13}" + "".join(f"{cell:>10}" for cell in cells))
    grids["aggregate x input x engine: edge values that agree with the oracle / tried"] = lines
    assert wrong == []
