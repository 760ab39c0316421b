"""What a run is started with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotlap.machine.numerics import Numerics
from hotlap.plan.recipe import Recipe


@dataclass(frozen=True)
class Run:
    """What to train, on what, into which folder; `hotlap.runs.execute` does it.

    Args:
        recipe: what to train.
        data: the source, in the words of `--data`.
        seed: of everything random.
        folder: where results go.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        data_dir: where to look for the data, if not in the usual places.
        threads: CPU threads; None leaves PyTorch's choice.
        eval_every: epochs between evaluations; 0 evaluates at the end only.
        numerics: the arithmetic to use instead of the plan's, as a resumed run must.
        command: what was typed to start it; empty where nothing was.
        loading: how images of one's own are read; arguments of `hotlap.data.load`.
        minutes: that the whole run is to take; None is as long as its recipe says.
        fit_batch: whether a batch that does not fit in memory is made smaller before the run starts.
    """

    recipe: Recipe
    data: str
    seed: int
    folder: Path
    device: str = "auto"
    data_dir: Path | None = None
    threads: int | None = None
    eval_every: int = 1
    numerics: Numerics | None = None
    command: str = ""
    loading: Mapping[str, Any] = field(default_factory=dict)
    minutes: float | None = None
    fit_batch: bool = False

    @property
    def resume_line(self) -> str:
        return f"hotlap train --resume {shlex.quote(str(self.folder))}"
