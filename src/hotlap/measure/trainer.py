"""Recipes trained in this process, each lowered once and run again for each seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from hotlap.data.dataset import Dataset
from hotlap.engine.clock import Clock
from hotlap.engine.diverged import Diverged, check_finite, diverged
from hotlap.engine.evaluate import evaluate
from hotlap.engine.lower import lower
from hotlap.engine.program import Program
from hotlap.inspect.throughput import warm_up
from hotlap.machine.backend import Backend
from hotlap.measure.standings import OWN, Timed
from hotlap.plan.recipe import Recipe


class Trainer:
    """What a benchmark's runs of recipes need. Several seeds of a recipe may train beside each other, each by
    a program and, on CUDA, on a stream of its own; they share the images.

    Args:
        dataset: all of them train on it.
        device: where.
        backends: arithmetic, by recipe's name.
        age_s: seconds this process had run before, which count as `cold` of its first run.
        read_s: seconds that reading the data took, which count as `load` of each recipe's first run.
    """

    def __init__(
        self,
        dataset: Dataset,
        device: torch.device,
        backends: Mapping[str, Backend],
        age_s: float = 0.0,
        read_s: float = 0.0,
    ):
        self.dataset, self.device, self.backends = dataset, device, backends
        self.age_s, self.read_s = age_s, read_s
        self.programs: dict[str, list[Program]] = {}

    def train(self, recipe: Recipe, seed: int, i: int) -> Timed:
        """The run of round `i`."""
        return self.train_together(recipe, [(seed, i)])[0]

    def train_together(self, recipe: Recipe, runs: Sequence[tuple[int, int]]) -> list[Timed]:
        """Runs (seed, round) beside each other. Seconds of each are its part of what all took."""
        name = recipe.name
        clock = Clock(self.device, 0.0 if self.programs else self.age_s)
        first = name not in self.programs
        programs = self._programs(recipe, len(runs), clock)
        lanes = [Lane(program, seed, self.device) for program, (seed, _) in zip(programs, runs, strict=False)]
        with clock.measure("train"):
            for lane in lanes:
                lane.begin()
        for start, stop in programs[0].segments(0, None):
            with clock.measure("train"):
                for lane in lanes:
                    lane.run(start, stop)
            for lane in lanes:
                lane.look(start, stop)
        with clock.measure("train"):
            for lane in lanes:
                lane.finish()
        with clock.measure("eval"):
            for lane in lanes:
                lane.evaluate()
        found = clock.summary()
        found["load"] += first * self.read_s
        part = found | {interval: found[interval] / len(runs) for interval in ("train", "eval")}
        return [
            Timed(
                name,
                i,
                0,
                seed,
                lane.accuracy,
                part["train"],
                None if lane.diverged else part["eval"],
                OWN,
                None,
                part,
                lane.diverged,
            )
            for lane, (seed, i) in zip(lanes, runs, strict=True)
        ]

    def _programs(self, recipe: Recipe, count: int, clock: Clock) -> list[Program]:
        """So many programs of a recipe, ready to run."""
        made = self.programs.setdefault(recipe.name, [])
        while len(made) < count:
            held = made[0] if made else None
            program = lower(recipe.plan(), self.dataset, self.backends[recipe.name], held=held)
            with clock.measure("compile"):
                program.compile()
                warm_up(program)
            with clock.measure("load"):
                program.upload()
            made.append(program)
        return made


class Lane:
    """One of several runs beside each other: its program, its stream, and what becomes of it."""

    def __init__(self, program: Program, seed: int, device: torch.device):
        self.program, self.seed = program, seed
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.accuracy: float | None = None
        self.diverged = ""

    def beside(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self.stream) if self.stream is not None else nullcontext()

    def begin(self) -> None:
        with self.beside():
            self.program.begin(self.seed)

    def run(self, start: int, stop: int) -> None:
        if not self.diverged:
            with self.beside():
                self.program.run(start, stop)

    def look(self, start: int, stop: int) -> None:
        """Whether the losses of these steps are numbers; the run ends if not."""
        try:
            if not self.diverged:
                check_finite(self.program, start, stop)
        except Diverged as error:  # a run like the others, and what came of it is that
            self.diverged = str(error)

    def finish(self) -> None:
        if not self.diverged:
            with self.beside():
                self.program.finish()

    def evaluate(self) -> None:
        if self.diverged:
            return
        with self.beside():
            final = evaluate(self.program)
        if math.isfinite(final.loss):  # the last step's update is seen here first
            self.accuracy = final.accuracy
        else:
            self.diverged = str(diverged(self.program, self.program.steps - 1))
