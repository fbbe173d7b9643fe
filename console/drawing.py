"""A model drawn as a person would: sources on the left, what is kept of them by key, and the topics it leads to."""

from __future__ import annotations

from collections.abc import Iterator

from samestream.schemas import durations
from samestream.streams.cost import cost_of
from samestream.streams.plan import ModelPlan, Plan


def drawing(plan: Plan, model: ModelPlan) -> Iterator[str]:
    """The flow from the sources of a model to its outcomes, as lines of text."""
    trigger, label = plan.inputs[model.trigger].topic, model.label
    flows: dict[str, list[str]] = {}
    read = {model.trigger, *(plan.tables[lookup.table].event for lookup in model.lookups)}
    for part in plan.enrichments:
        if part.event in read:
            table = plan.tables[part.lookup.table]
            text = f"{table.event} by {table.by[0]}, as of each {part.event}"
            flows.setdefault(plan.inputs[table.event].topic, []).append(text)
    for lookup in model.lookups:
        table = plan.tables[lookup.table]
        count = len(table.aggregates)
        text = f"{table.event} by {' and '.join(table.by)}: {count} aggregate{'' if count == 1 else 's'}, {cost_of(table).path}"
        flows.setdefault(plan.inputs[table.event].topic, []).append(text)
    last = flows.pop(trigger, [])
    flows[trigger] = [*last, f"a vector for each {model.trigger}"]
    labels = plan.events[label.event].topic
    joined = f"label {label.name}, within {durations.text(label.within_us)}"
    left = max(map(len, (*flows, labels)))
    middle = max(len(text) for texts in (*flows.values(), [joined]) for text in texts)
    rows = [(topic, number, len(texts), text) for topic, texts in flows.items() for number, text in enumerate(texts)]
    for index, (topic, number, count, text) in enumerate(rows):
        line = f"{_source(topic, left, number, count)}{text} {'─' * (middle - len(text) + 1)}"
        if index < len(rows) - 1:
            yield line + ("┤" if index else "┐")
        else:
            yield line + ("┴" if index else "─") + f"─▶ {model.topics['features']}"
    stem = len(_source("", left, 0, 1)) + middle + 2 + 6
    yield f"{' ' * stem}│ scored by the champion"
    yield f"{' ' * stem}▼"
    yield f"{' ' * (stem - 2)}{model.topics['predictions']}"
    yield f"{' ' * stem}│"
    start = f"{_source(labels, left, 0, 1)}{joined} "
    yield start + "─" * (stem - len(start)) + f"┴─▶ {model.topics['outcomes']}"


def _source(topic: str, width: int, number: int, count: int) -> str:
    """The topic and the arrow to the first of ``count`` things that read it; for the others the fork below."""
    if number == 0:
        return f"  {topic} {'─' * (width - len(topic) + 1)}{'┬' if count > 1 else '─'}─▶ "
    return f"{' ' * (width + 4)}{'└' if number == count - 1 else '├'}─▶ "
