"""`samestream plan` draws what will run."""

from __future__ import annotations

from harness import PLAN

from samestream.console.plan import drawn


def test_sources_state_vectors_and_label_are_drawn() -> None:
    lines = list(drawn(PLAN))
    assert lines[0] == f"shop   definition {PLAN.fingerprint}"
    assert any("View" in line and "lateness 1m" in line and "judged by features" in line for line in lines)
    assert any("Order" in line and "judged by outcomes.Buys" in line for line in lines)
    assert "    mean(seconds) over 1h, 60 tiles of 1m" in lines
    assert "    last(cents) over 1d, 96 tiles of 15m" in lines
    assert any(line.split() == ["spread", "int", "from", "Price.cents"] for line in lines)
    assert "  label bought: (amount > 0) of Order by user, within 30m" in lines
    assert "  predicts a probability, trained by gradient_boosting" in lines
    assert any(
        "shop.views -> shop.features.Buys -> shop.predictions.Buys -> shop.outcomes.Buys" in line for line in lines
    )
