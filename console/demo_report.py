"""What the demo found, read from topics: figures for the summary, and the report that people read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from samestream.console.incident_view import joined
from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.streams.models.performance import performance
from samestream.streams.transport import Transport

_OUTCOME, _INCIDENT = Codec(records.OUTCOME), Codec(records.INCIDENT)


def outcome_figures(transport: Transport, topic: str, trained: Mapping[str, Any] | None) -> dict[str, Any]:
    """How the model did on months it never saw, by the labels that came; and how many outcomes are in which state."""
    counts = {"labelled": 0, "unlabelled": 0}
    outcomes = []
    for fetched in transport.read_all(topic):
        for value in fetched.values:
            if value is None:
                continue
            outcomes.append(_OUTCOME.decode(value))
            if outcomes[-1]["state"] in counts:
                counts[outcomes[-1]["state"]] += 1
    figures: dict[str, Any] = {"outcomes": counts, "auc": None, "log_loss": None, "baseline_log_loss": None}
    if trained:
        found = performance("probability", outcomes, trained["base_rate"])
        figures |= {name: found.get(name) for name in ("auc", "log_loss", "baseline_log_loss")}
    return figures


def incidents(transport: Transport, topic: str) -> list[dict[str, Any]]:
    """Every incident as it last stood, by the time it opened; its evidence is what it opened with and all learned since."""
    latest: dict[str, dict[str, Any]] = {}
    evidence: dict[str, dict[str, Any]] = {}
    for fetched in transport.read_all(topic):
        for value in fetched.values:
            if value is not None:
                record = _INCIDENT.decode(value)
                latest[record["incident"]] = record
                told = json.loads(record["evidence"])
                evidence[record["incident"]] = joined(evidence.get(record["incident"], {}), told)
    found = [
        {
            "subject": record["subject"],
            "cause": record["cause"],
            "verdict": record["verdict"],
            "state": record["event"],
            "opened_at": instant(record["opened_at"]),
            "evidence": evidence[name],
        }
        for name, record in latest.items()
    ]
    return sorted(found, key=lambda item: (item["opened_at"], item["subject"], item["cause"]))


def instant(time_us: int) -> str:
    """An instant as people and JSON readers know it: ``2013-02-08T17:00:00Z``."""
    return f"{np.datetime64(time_us // 1_000_000, 's')}Z"


def report(summary: Mapping[str, Any]) -> str:
    """The summary as a page of text."""
    broker, model, parity, outcomes = (summary[name] for name in ("broker", "model", "parity", "outcomes"))
    lines = [
        "",
        f"Broker     {broker['kind']} {broker['version']}",
        "Events     topic                    produced     applied    late    dead",
    ]
    for topic, part in summary["events"].items():
        lines.append(
            f"           {topic:<22}{part['produced']:>11,}{part['applied']:>12,}{part['late']:>8,}{part['dead']:>8,}"
        )
    lines += [
        f"Served     {summary['vectors']:,} feature vectors, {summary['predictions']:,} predictions",
        f"Outcomes   {outcomes['labelled']:,} labelled, {outcomes['unlabelled']:,} unlabelled, {outcomes['pending']:,} pending",
    ]
    if model["auc"] is not None:
        losses = f"log loss {model['log_loss']:.4f} against {model['baseline_log_loss']:.4f} for the base rate"
        lines.append(f"Model      AUC {model['auc']:.3f}, {losses}, on months it never saw")
        lines.append(f"           (trained on {model['trained_rows']:,} vectors of the first month)")
    lines += [
        f"Parity     {parity['compared']:,} vectors replayed from the journal: {parity['mismatched']:,} differ",
        f"           computed in SQL as known: {parity['as_known_mismatched']:,} differ;"
        f" {parity['lateness_skewed']:,} would, had every event been known the moment it happened",
        f"Incidents  {len(summary['incidents']) or 'none'}"
        + (" (no fault was injected)" if summary["fault"] == "none" else ""),
    ]
    for incident in summary["incidents"]:
        lines.append(
            f"           {incident['opened_at']}  {incident['verdict']:<18} {incident['subject']}  because of {incident['cause']}"
        )
    lines.append(f"Took       {summary['seconds']} s")
    return "\n".join(lines)
