"""What each process of an app may do on a Kafka with authorization: the least that it needs, as `kafka-acls` commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from samestream.schemas.app import App
from samestream.schemas.errors import SettingsError
from samestream.streams.deploy import provision
from samestream.streams.engine.processor import Task
from samestream.streams.plan import Plan

Resource = Literal["topic", "group", "transactional-id", "cluster"]
Operation = Literal["Read", "Write", "Describe", "DescribeConfigs", "Create"]


class Need(NamedTuple):
    """One operation on one resource. Kafka lets who may read or write also describe."""

    resource: Resource
    name: str
    operation: Operation


def needs(app: App, plan: Plan, groups: Sequence[str] = ()) -> dict[str, list[Need]]:
    """The needs of each process, by its name: the tasks of `samestream run`, the commands, the applications around.

    groups : consumer groups of `Predictions` and `Drift`, as applications name them; without one they need none
    """
    from samestream.monitors.profile_writer import subjects

    every = [spec.name for spec in provision.topics(app, plan)]
    found = {task.name: [*_of_task(plan, task, every), *_seeing(every)] for task in _tasks(app, plan)}
    logged = [part.topic for part in plan.events.values()]
    logged += [topic for model in plan.models.values() for topic in model.topics.values()]
    found["log"] = [*_topics("Read", [*logged, plan.journal, plan.schemas, plan.registry]), *_seeing(every)]
    found["log"] += [Need("group", group, "Read") for group in _presence(f"{plan.app}.log")]
    events = [part.topic for part in plan.events.values()]
    found["producers"] = [
        *_topics("Write", events),
        *_topics("Read", [plan.schemas]),
        *_topics("Write", [plan.schemas]),
    ]
    results = [model.topics["predictions"] for model in plan.models.values()]
    found["consumers"] = _topics("Read", [*results, plan.drift, plan.schemas])
    found["consumers"] += [Need("group", app.within(group), "Read") for group in groups]
    found["train"] = [*_topics("Read", [plan.registry]), *_topics("Write", [plan.registry]), *_seeing(every)]
    found["replay"] = [*_topics("Read", [plan.journal, plan.registry, plan.schemas]), *_seeing(every)]
    served = [model.topics["features"] for model in plan.models.values()]
    identity = f"{plan.app}.parity"
    found["parity"] = [
        Need("transactional-id", identity, "Write"),
        *(Need("group", group, "Read") for group in (identity, *_presence(identity))),
        *found["replay"],
        *_topics("Read", [*served, *(part.topic for part in plan.inputs.values()), plan.drift]),
        *_topics("Write", [plan.drift, plan.journal]),
    ]
    found["profiles"] = [
        *(
            Need("group", f"{plan.app}.profiles.{topic}", "Read")
            for topic in subjects(plan, list(app.monitors.values()))
        ),
        *_topics("Read", [*subjects(plan, list(app.monitors.values())), plan.schemas]),
        *_topics("Write", [plan.profiles, plan.journal]),
        *_seeing(every),
    ]
    found["apply"] = [
        Need("cluster", "", "Create"),
        *_topics("Read", [*events, plan.schemas]),
        *_topics("Write", [plan.schemas]),
        *_topics("DescribeConfigs", every),
        *_seeing(every),
    ]
    return {process: list(dict.fromkeys(wanted)) for process, wanted in found.items()}


def commands(
    app: App, plan: Plan, bootstrap: str, principals: Sequence[str], groups: Sequence[str] = ()
) -> Iterator[str]:
    """The needs as command lines, with a comment before those of each process.

    principals : ``PROCESS=NAME``; ``scorer`` stands for the scorers of all models; the others are named after the process
    Raises SettingsError for a process that does not exist.
    """
    wanted = needs(app, plan, groups)
    named = _principals(principals, wanted)
    for process, found in wanted.items():
        own = named.get(process) or named.get(process.partition(".")[0]) or f"User:{plan.app}.{process}"
        yield f"# {process}"
        for resource, operations, names in _together(found):
            line = ["kafka-acls", "--bootstrap-server", bootstrap, "--add", "--allow-principal", own]
            line += [part for operation in operations for part in ("--operation", operation)]
            if resource == "cluster":
                line += ["--cluster"]
            else:
                line += [part for name in names for part in (f"--{resource}", name)]
            yield shlex.join(line)


def _of_task(plan: Plan, task: Task, every: Iterable[str]) -> Iterator[Need]:
    """A processor reads its inputs, the schemas and its journal, and writes in transactions under its own identity."""
    identity = f"{plan.app}.{task.name}"
    yield Need("transactional-id", identity, "Write")
    yield from (Need("group", group, "Read") for group in (identity, *_presence(identity)))
    topics = dict.fromkeys([*(part.topic for part in task.inputs), plan.schemas, plan.journal, plan.registry])
    yield from _topics("Read", topics)
    owned = [part.topic for part in task.inputs if part.name in task.owned]
    rejected = [f"{topic}.{kind}" for topic in owned for kind in ("late", "dead")]
    yield from _topics("Write", [plan.journal, *_outputs(plan, task), *(topic for topic in rejected if topic in every)])


def _presence(identity: str) -> tuple[str, str]:
    """The groups by which processes of an identity see each other: who is active, and who stands by."""
    return f"{identity}.active", f"{identity}.standby"


def _outputs(plan: Plan, task: Task) -> list[str]:
    role, _, model = task.name.partition(".")
    if role == "features":
        return [found.topics["features"] for found in plan.models.values()]
    if role == "monitor":
        # whoever reads pulses runs beside what writes them (`console.pulses`)
        return [plan.drift, *(part.topic for part in task.inputs if part.topic == plan.pulse)]
    return [plan.models[model].topics["predictions" if role == "scorer" else "outcomes"]]


def _tasks(app: App, plan: Plan) -> list[Task]:
    from samestream.monitors.outcome_task import OutcomeMonitorTask, is_asked_for
    from samestream.monitors.task import MonitorTask
    from samestream.streams.engine.feature_task import FeatureTask
    from samestream.streams.models.outcomes import OutcomeTask
    from samestream.streams.models.scorer import ScorerTask

    found: list[Task] = [FeatureTask(plan)]
    for model in plan.models.values():
        found += [ScorerTask(plan, model), OutcomeTask(plan, model)]
    found += [MonitorTask(plan, watched) for watched in app.monitors.values()]
    return found + [OutcomeMonitorTask(plan, watched) for watched in app.monitors.values() if is_asked_for(watched)]


def _topics(operation: Operation, names: Iterable[str]) -> list[Need]:
    return [Need("topic", name, operation) for name in names]


def _seeing(every: Iterable[str]) -> list[Need]:
    """Every command looks first whether all topics of the app are there."""
    return _topics("Describe", every)


def _principals(given: Sequence[str], wanted: Iterable[str]) -> dict[str, str]:
    processes = {name for process in wanted for name in (process, process.partition(".")[0])}
    found = {}
    for pair in given:
        process, equals, name = pair.partition("=")
        if not equals or not name or process not in processes:
            raise SettingsError(
                "a principal is given to a process",
                where="--principal",
                found=pair,
                expected=f"PROCESS=NAME; processes {', '.join(sorted(processes))}",
                hint="--principal features=User:flights.",
            )
        found[process] = name if ":" in name else f"User:{name}"
    return found


def _together(found: Sequence[Need]) -> Iterator[tuple[Resource, list[Operation], list[str]]]:
    """Needs in as few commands as may be: names that need the same operations share one."""
    operations: dict[tuple[Resource, str], list[Operation]] = {}
    for need in found:
        operations.setdefault((need.resource, need.name), []).append(need.operation)
    groups: dict[tuple[Resource, tuple[Operation, ...]], list[str]] = {}
    for (resource, name), asked in operations.items():
        stronger: list[Operation] = [one for one in asked if one != "Describe"] or asked
        groups.setdefault((resource, tuple(stronger)), []).append(name)
    for (resource, shared), names in groups.items():
        yield resource, list(shared), names
