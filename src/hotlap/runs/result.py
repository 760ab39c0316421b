"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotlap.nets.network import Network
from hotlap.report.notebook import result_html
from hotlap.runs.reporter import Row
from hotlap.spec import DataSpec


@dataclass
class Result:
    """What a run came to.

    Attributes:
        recipe, data, seed: what was run.
        accuracy: test accuracy in percent, with the plan's weights and views.
        target: the recipe's target, in percent; 0 is none.
        history: one row an epoch: `epoch`; `step`; `train_loss`, its mean in nats; `train_accuracy`, percent;
            `test_accuracy`, percent from one view, or None where it was not looked at; and since the first
            step `train_s`, seconds, and `images_per_s`.
        clocks: seconds by interval; see `hotlap.engine.clock`.
        folder: the run's folder.
        summary: what its `summary.json` holds.
        model: the trained network, holding the evaluated weights, in evaluation mode.
        spec: the data's description.
        report: the page of the run; None if it could not be drawn.
    """

    recipe: str
    data: str
    seed: int
    accuracy: float
    target: float
    history: list[Row]
    clocks: dict[str, float]
    folder: Path
    summary: dict[str, Any] = field(repr=False)
    model: Network = field(repr=False)
    spec: DataSpec = field(repr=False)
    report: Path | None = None

    def _repr_html_(self) -> str:
        met = "met" if self.accuracy >= self.target else "missed"
        aim = f" (target {self.target:g}%: {met})" if self.target else ""
        facts = [
            ("recipe", self.recipe),
            ("data", f"{self.data}, seed {self.seed}"),
            ("test accuracy", f"{self.accuracy:.2f}%{aim}"),
            ("train", f"{self.clocks['train']:.1f} s"),
            ("eval", f"{self.clocks['eval']:.1f} s"),
            ("folder", str(self.folder)),
        ]
        return result_html(facts, self.history)
