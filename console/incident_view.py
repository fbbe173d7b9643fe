"""How people are shown an incident: a few lines in a list, or all that is known of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from samestream.console.reading import instant

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
    # what is empty says nothing new
    found = before | {
        name: value for name, value in more.items() if name not in before or value not in ([], {}, "", None)
    }
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


def heading(one: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong, since when, and because of what."""
    state = f"closed {one['at']}" if one["event"] == "close" else "open"
    weight = importance(one, -1)
    touches = "" if weight < 0 else f", importance {weight:g}"
    yield f"{one['verdict']}  {one['subject']}  ({state}, severity {one['severity']:g}{touches})"
    yield f"  cause {one['cause']}, opened {one['opened_at']}, incident {one['incident']}"


def lines(one: Mapping[str, Any], whole: bool = False, times: Collection[str] = ()) -> Iterator[str]:
    """An incident for people: what, since when, because of what, and the evidence.

    times : features that are instants, in microseconds
    """
    yield from heading(one)
    evidence = one["evidence"]
    if not isinstance(evidence, dict):
        if text := str(evidence):
            yield f"  {text if whole else _fitting([text])}"
        return
    moved: Any = evidence.get("moved")
    moved = moved if isinstance(moved, dict) else {}
    shown = by_size({name: in_words(said, name, times) for name, said in moved.items()}, evidence.get("order"))
    if not whole:
        if meaning := evidence.get("meaning"):
            yield f"  {meaning}"
        plain = {name: value for name, value in evidence.items() if not (name in _REPEATED or _is_long(name, value))}
        if told := [f"{name}={_within(value)}" for name, value in plain.items() if value not in ([], {}, "", None)]:
            yield f"  {_fitting(told)}"
        for path in _PATHS:
            if isinstance(said := evidence.get(path), dict):
                yield f"  {_fitting([path + ': ' + _rates(said)])}"
        for name, said in shown:
            yield f"  {_fitting([f'{name} moved: {_sizes(said)}'])}"
        if "command" in evidence:
            yield f"  {evidence['command']}"
        return
    for name, value in evidence.items():
        if name == "histogram" and isinstance(value, dict):
            yield "  histogram: before, and after"
            yield from (f"    {line}" for line in histogram(value))
        elif name != "moved" or not moved:
            yield from (f"  {line}" for line in readable(name, value, times))
    for name, said in shown:
        yield f"  {name} moved: {_sizes(said)}"
        yield from (f"    {line}" for line in _details(said))


_PATHS = ("replay", "as_known")
"""Under these a parity incident tells what either comparison found."""
_LONG = ("moved", "histogram", "features", *_PATHS)


def _is_long(name: str, value: Any) -> bool:
    """Whether the list leaves it to the whole of an incident: rows of data, too."""
    return name in _LONG or (isinstance(value, list) and any(isinstance(part, dict | list) for part in value))


def _within(value: Any) -> str:
    """A value within a line of others."""
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_within(part)}" for name, part in value.items()) + ")"
    return _short(value)


def _rates(said: Mapping[str, Any]) -> str:
    since = said.get("since_it_began", {})
    worst = "".join(f", {name} in {part['rate']:.1%}" for name, part in said.get("features", {}).items())
    counted = f"{since.get('mismatched', 0):,} of {since.get('compared', 0):,} vectors since {said.get('began')} differ"
    return f"{counted} ({since.get('rate', 0):.1%}){worst}"


def readable(name: str, value: Any, times: Collection[str] = ()) -> Iterator[str]:
    """A named value of evidence as lines: what is nested stands below its name, and rows of one shape under each other."""
    value = in_words(value, name, times)
    name = name.removesuffix("_us")
    if (
        name == "examples"
        and isinstance(value, list)
        and all(isinstance(one, dict) and "differs" in one for one in value)
    ):
        yield "examples:"
        for one in value:
            yield from (f"  {line}" for line in _example(one))
    elif isinstance(value, dict) and value and not _is_flat(value):
        yield f"{name}:"
        for part, inner in value.items():
            yield from (f"  {line}" for line in readable(str(part), inner, times))
    elif isinstance(value, list) and any(isinstance(part, dict) and not _is_flat(part) for part in value):
        for number, part in enumerate(value, 1):
            yield from readable(f"{name} {number}", part, times)
    elif isinstance(value, list) and any(isinstance(part, list | dict) for part in value):
        yield f"{name}:"
        yield from (f"  {_short(part)}" for part in value)
    else:
        yield f"{name}: {_short(value)}"


def _example(one: Mapping[str, Any]) -> Iterator[str]:
    """A vector that differs: where its trigger lies, what was served beside what it should have been, and the events behind it."""
    topic, number, offset = one["trigger"]
    yield f"{topic}[{number}] {offset}  {one['entity']}  known {one.get('known_us', '-')}"
    for name, (served, expected) in one["differs"].items():
        yield f"  {name}: served {_short(served)}, should be {_short(expected)}"
    events = one.get("events")
    for source, told in (events if isinstance(events, dict) else {}).items():
        yield f"  made of {told['events']:,} events of {source}, the newest:"
        yield from (f"    {_short(event)}" for event in told["newest"])


def in_words(value: Any, name: str, times: Collection[str] = ()) -> Any:
    """A value with its instants in words: of names that end in `_us`, and of features that are instants."""
    if isinstance(value, dict):
        # what is said of a feature goes by its name; its shares and sizes are too small to be instants
        return {key: in_words(part, name if name in times else key, times) for key, part in value.items()}
    if isinstance(value, list):
        return [in_words(part, name, times) for part in value]
    is_time = name in times or name.endswith("_us")
    # what lies before 1971 is no instant but a length
    if is_time and isinstance(value, int | float) and not isinstance(value, bool) and value > _FIRST_US:
        return instant(round(value))
    return value


_FIRST_US = 365 * 86_400_000_000


def _is_flat(value: Mapping[str, Any]) -> bool:
    return not any(isinstance(part, dict | list) and part for part in value.values())


def _short(value: Any) -> str:
    """A value on one line, without brackets and quotation marks."""
    if isinstance(value, dict):
        return "  ".join(f"{name} {_short(part)}" for name, part in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(_short(part) for part in value) or "-"
    if isinstance(value, float):
        return repr(value)
    return "-" if value is None else str(value)


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
    yield f"before {_short(said.get('before'))} ({said.get('rows_before', '?')} rows{reference})"
    yield f"after  {_short(said.get('after'))} ({said.get('rows', '?')} rows)"
    yield from histogram(said.get("histogram") or {})
    if new := said.get("new"):
        yield f"never seen before: {', '.join(map(str, new))}"
    for part in said.get("slices") or ():
        yield (
            f"{part['by']} is {part['is']}: {part['share_of_move']:.0%} of the move, {part['rows_before']:.0%} of the rows before"
            f" ({_short(part['before'])} -> {_short(part['after'])})"
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


def _from(bound: float | str) -> str:
    """A lower bound; that of the bin next to zero is too small to mean anything."""
    if isinstance(bound, str):
        return f"from {bound}"
    return "above 0" if 0 < bound < 1e-9 else f"from {bound:.6g}"


def _fitting(parts: Sequence[str]) -> str:
    """As many parts as fit a line of the list, none of them cut but the first; how many were left out is said."""
    told = parts[0] if len(parts[0]) <= SHORT else parts[0][: SHORT - 3] + "..."
    for number, part in enumerate(parts[1:], 1):
        if len(told) + len(part) + 2 > SHORT:
            return f"{told}  and {len(parts) - number} more"
        told += f"  {part}"
    return told
