"""How people are shown an incident: a few lines in a list, or all that is known of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

SHORT = 160
"""Characters of evidence in the list."""
WIDTH = 24
_SIZES = ("psi", "ks", "wasserstein", "jensen_shannon", "l_infinity", "unseen_share")
_REPEATED = {
    "meaning",
    "advice",
    "place",
    "opened_at",
    "at",
    "command",
    "alarms_per_week_declared",
    "importance",
    "order",
}
"""What only repeats the other lines is left out of the short form."""


def joined(before: Any, more: Any) -> Any:
    """The evidence of an incident's records so far, and of one more: it says what is new, and of what moved each by itself."""
    if not isinstance(before, dict) or not isinstance(more, dict):
        return more
    found = before | more
    moved = [said["moved"] for said in (before, more) if isinstance(said.get("moved"), dict)]
    if len(moved) == 2:
        found["moved"] = moved[0] | moved[1]
    return found


def rank(one: Mapping[str, Any]) -> tuple[bool, float, str, str]:
    """Incidents sort by this: open ones before closed ones, then by what they touch of the model times how severe they are.

    Where it is not known what they touch, by severity alone.
    """
    return one["event"] == "close", -importance(one, 1.0) * one["severity"], one["opened_at"], one["incident"]


def importance(one: Mapping[str, Any], unknown: float) -> float:
    """What an incident touches of the model, 0 to 1."""
    evidence = one["evidence"]
    told = evidence.get("importance") if isinstance(evidence, dict) else None
    return float(told) if isinstance(told, int | float) else unknown


def lines(one: Mapping[str, Any], whole: bool = False) -> Iterator[str]:
    """An incident for people: what, since when, because of what, and the evidence."""
    state = f"closed {one['at']}" if one["event"] == "close" else "open"
    weight = importance(one, -1)
    touches = "" if weight < 0 else f", importance {weight:g}"
    yield f"{one['verdict']}  {one['subject']}  ({state}, severity {one['severity']:g}{touches})"
    yield f"  cause {one['cause']}, opened {one['opened_at']}, incident {one['incident']}"
    evidence = one["evidence"]
    if not isinstance(evidence, dict):
        if text := str(evidence):
            yield f"  {_cut(text, whole)}"
        return
    moved: Any = evidence.get("moved")
    moved = moved if isinstance(moved, dict) else {}
    if not whole:
        if meaning := evidence.get("meaning"):
            yield f"  {meaning}"
        told = "  ".join(f"{name}={value}" for name, value in evidence.items() if name not in {*_REPEATED, "moved"})
        if told:
            yield f"  {_cut(told, whole)}"
        for name, said in by_size(moved, evidence.get("order")):
            yield f"  {_cut(f'{name} moved: {_sizes(said)}', whole)}"
        return
    for name, value in evidence.items():
        if name == "histogram" and isinstance(value, dict):
            yield "  histogram: before, and after"
            yield from (f"    {line}" for line in histogram(value))
        elif name != "moved" or not moved:
            yield f"  {name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
    for name, said in by_size(moved, evidence.get("order")):
        yield f"  {name} moved: {_sizes(said)}"
        yield from (f"    {line}" for line in _details(said))


def by_size(moved: Mapping[str, Any], order: Any = None) -> list[tuple[str, dict[str, Any]]]:
    """What moved: in the order told, where there is one, then the one that is furthest beyond its limit first."""
    found = [(name, said) for name, said in moved.items() if isinstance(said, dict)]
    first = {name: place for place, name in enumerate(order)} if isinstance(order, list) else {}
    return sorted(
        found,
        key=lambda one: (
            first.get(one[0], len(first)),
            -one[1].get("psi", 0) / max(one[1].get("psi_limit", 1), 1e-9),
            one[0],
        ),
    )


def _sizes(said: Mapping[str, Any]) -> str:
    sizes = said.get("effect_sizes") or {"psi": said.get("psi")}
    told = [f"{name} {sizes[name]:.3g}" for name in _SIZES if sizes.get(name) is not None]
    told[:1] = [f"{part} (limit {said['psi_limit']:.3g})" if "psi_limit" in said else part for part in told[:1]]
    nulls = [f"{said.get(name, 0.0):.1%}" for name in ("null_share_before", "null_share")]
    if nulls[0] != nulls[1]:
        told.append(f"null {nulls[0]} -> {nulls[1]}")
    return "  ".join(told)


def _details(said: Mapping[str, Any]) -> Iterator[str]:
    reference = f", {said['reference']}" if "reference" in said else ""
    yield f"before {said.get('before')} ({said.get('rows_before', '?')} rows{reference})"
    yield f"after  {said.get('after')} ({said.get('rows', '?')} rows)"
    yield from histogram(said.get("histogram") or {})
    if new := said.get("new"):
        yield f"never seen before: {', '.join(map(str, new))}"
    for part in said.get("slices") or ():
        yield (
            f"{part['by']} is {part['is']}: {part['share_of_move']:.0%} of the move, {part['rows_before']:.0%} of the rows before"
            f" ({part['before']} -> {part['after']})"
        )
    if said.get("slices_by") and not said.get("slices"):
        yield f"spread evenly over {', '.join(said['slices_by'])}"
    for row in said.get("examples") or ():
        yield f"{row['at']}  {row.get('key', '')}  {row['value']}"
    if left_out := said.get("left_out"):
        yield f"left out, to keep the record small: {', '.join(left_out)}"


def histogram(shown: Mapping[str, Any]) -> Iterator[str]:
    """Two bars a bin, before and after, to one scale; bins that are empty on both sides are left out.

    shown : lower bounds or texts, and both sides, as shares or as counts.
    """
    if not shown:
        return
    sides = [shown["before"], shown["after"]]
    # shares of rows sum to 1 with null, which is told elsewhere
    sides = [[count / sum(side) for count in side] if sum(side) > 1.01 else side for side in sides]
    if "from" in shown:
        names = ["below" if bound is None else _from(bound) for bound in shown["from"]]
        if len(names) > 1 and shown["from"][-1] is None:
            names[-1] = "above"
    else:
        names = ["(others)" if text is None else text[:WIDTH] for text in shown["texts"]]
    greatest = max([*sides[0], *sides[1], 1e-9])
    wide = max(map(len, names))
    for name, before, after in zip(names, *sides, strict=True):
        if before or after:
            bars = [f"{'#' * round(WIDTH * share / greatest):<{WIDTH}} {share:>6.1%}" for share in (before, after)]
            yield f"{name:<{wide}}  {bars[0]}  {bars[1]}"


def _from(bound: float) -> str:
    """A lower bound; that of the bin next to zero is too small to mean anything."""
    return "above 0" if 0 < bound < 1e-9 else f"from {bound:.6g}"


def _cut(text: str, whole: bool) -> str:
    return text if whole or len(text) <= SHORT else text[: SHORT - 3] + "..."
