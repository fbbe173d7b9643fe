"""The monitors that a module declares, for people: what they watch, what they do not, and how their budget is divided."""

from __future__ import annotations

from collections.abc import Iterator

from samestream.monitors.declared import Check, Declared, Quality
from samestream.monitors.families import families
from samestream.monitors.sources import LEARNING_DAYS
from samestream.monitors.task import make_watch
from samestream.schemas.app import App
from samestream.streams.plan import Plan


def lines(app: App, plan: Plan) -> Iterator[str]:
    """All classes of monitors, and the models that have none."""
    for name, one in app.monitors.items():
        declared: Declared = one.__monitors__
        yield f"{name} watches {declared.name}, {declared.alarms_per_week:.3g} alarms a week declared"
        for place in ("features", "scores"):
            if checks := getattr(declared, place):
                yield f"  {place}: {', '.join(map(_written, checks))}"
        yield from (f"  {line}" for line in budget(declared))
        for event, watched, unwatched in fields(plan, declared):
            yield f"  of {event} is watched: {', '.join(watched) or 'its traffic alone'}"
            if unwatched:
                yield f"    and not: {'; '.join(unwatched)}"
    watched_models = {one.__monitors__.name for one in app.monitors.values()}
    for model in plan.models:
        if model not in watched_models:
            yield f"{model} has no monitors"


def budget(declared: Declared) -> Iterator[str]:
    """How a budget is divided, and when each part may speak."""
    found = families(declared)
    both = {one.name for one in found} >= {"features", "scores"}
    for one in found:
        shared = ", features and scores together" if both and one.name in ("features", "scores") else ""
        learning = f", after {LEARNING_DAYS} of learning" if one.name == "sources" else ""
        yield (
            f"{one.name}: {one.per_week:.3g} a week{shared};"
            f" the first may be told after {one.needed_days} good days of history{learning}"
        )


def fields(plan: Plan, declared: Declared) -> Iterator[tuple[str, list[str], list[str]]]:
    """Per source, which fields are watched, and which not and why."""
    model = plan.models[declared.name]
    by_value = any(isinstance(check, Quality) for check in declared.features)
    read = {pair for pairs in model.lineage.values() for pair in pairs}
    for spec in make_watch(plan, model, declared).specs:
        source = plan.events[spec.event]
        values = (*spec.numeric_fields, *spec.text_fields, *spec.flag_fields, *spec.instant_fields) if by_value else ()
        watched = list(dict.fromkeys((*values, *spec.group_fields)))
        unwatched = []
        for column, kind in source.columns.items():
            if column in watched:
                continue
            if column == source.key:
                why = "the key, by which repeats are told"
            elif column == source.time:
                why = "the event time, of which lateness is told"
            elif not by_value:
                why = "quality() is not declared"
            elif (spec.event, column) in read:
                why = f"a {kind.value}, of which only what features make of it is watched"
            else:
                why = "no input of the model reads it"
            unwatched.append(f"{column} ({why})")
        yield spec.event, watched, unwatched


def _written(check: Check) -> str:
    """A check about as it was declared."""
    said = repr(check)
    return said[0].lower() + said[1:]
