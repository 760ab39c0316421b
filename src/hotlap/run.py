"""A run: a recipe trained on a data set into a folder, resumable at any step."""

from __future__ import annotations

import json
import math
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from hotlap import data as datasets
from hotlap import machine
from hotlap.checkpoint import MODEL, STATE, load_state, save_model, save_state
from hotlap.clock import Clock
from hotlap.errors import UserError
from hotlap.evaluate import evaluate
from hotlap.files import RUN_MEND, slug, write_atomic, write_error
from hotlap.loop import diverged, train
from hotlap.nets.layers import Network
from hotlap.numerics import Numerics
from hotlap.program import Program
from hotlap.recipe import Recipe
from hotlap.recipes import find
from hotlap.spec import DataSpec

Row = dict[str, Any]
CHECKPOINT_S = 60.0  # a state is also written at the end of every epoch


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal and its state was saved; `resume` is the line that goes on."""

    def __init__(self, resume: str):
        super().__init__(resume)
        self.resume = resume


class Reporter:
    """What a run tells while it goes; this one says nothing. Called between segments only."""

    def start(self, run: Run, program: Program) -> None:
        """Everything is loaded and compiled; training starts now."""

    def step(self, step: int, clock: Clock) -> None:
        """A segment is done."""

    def row(self, row: Row) -> None:
        """An epoch is done and evaluated."""

    def note(self, text: str) -> None:
        """A line for the user that belongs to no epoch."""


@dataclass
class Result:
    """What a run came to.

    Attributes:
        recipe, data, seed: what was run.
        accuracy: test accuracy in percent, with the plan's weights and views.
        target: the recipe's target, in percent.
        history: one row an epoch.
        clocks: seconds by interval; see `hotlap.clock`.
        folder: the run's folder.
        model: the trained network, holding the evaluated weights, in evaluation mode.
        spec: the data's description.
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

    def _repr_html_(self) -> str:
        from hotlap.report.notebook import result_html

        return result_html(self)


@dataclass
class Run:
    """A run's folder and what it was started with.

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

    @property
    def resume_line(self) -> str:
        return f"hotlap train --resume {shlex.quote(str(self.folder))}"

    def go(
        self,
        reporter: Reporter,
        *,
        resume: bool = False,
        checkpoint_s: float = CHECKPOINT_S,
        age_s: float = 0.0,
    ) -> Result:
        """Train to the end, or until a signal stops it.

        Args:
            reporter: told about progress between segments.
            resume: go on from the folder's state instead of starting.
            checkpoint_s: seconds between saved states.
            age_s: seconds spent before this call that count as `cold`, such as the process's start.

        Raises:
            UserError: bad input of any kind; Diverged if the loss is no number.
            Interrupted: after SIGINT or SIGTERM, with the state saved.
        """
        plan = self.recipe.plan()
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder}: is a file; choose another --out")
        if not resume and self.folder.exists() and any(self.folder.iterdir()):
            raise UserError(
                f"{self.folder}: is not empty; choose another --out, or resume it: {self.resume_line}"
            )
        device = machine.pick_device(self.device)
        if self.threads:
            torch.set_num_threads(self.threads)
        if device.type == "cpu":
            machine.tune_allocator()
        clock = Clock(device, age_s)
        with clock.measure("load"):
            dataset = datasets.load(self.data, data_dir=self.data_dir, notify=reporter.note)
        with clock.measure("compile"):  # the first time on a machine, hotlap's own kernels are built here
            engine = machine.resolve(self.numerics or plan.numerics, device)
        program = Program(plan, dataset, engine)
        with clock.measure("compile"):
            program.compile()
        with clock.measure("load"):
            program.upload()

        start, history = 0, []
        if resume:
            saved = load_state(self.folder)
            program.load_state(saved.tensors, saved.seed)
            start, history, self.seed = saved.step, saved.history, saved.seed
            rows = "".join(json.dumps(row) + "\n" for row in history)  # without what came after the state
            write_atomic(self.folder / "metrics.jsonl", rows.encode())
            for interval, seconds in saved.seconds.items():
                clock.seconds[interval] += seconds
        else:
            self._write_start(program)
        reporter.start(self, program)
        last_saved = time.monotonic()
        stride = 1 if device.type == "cpu" else None
        with stop_requests() as requested:
            for progress in train(program, clock, self.seed, start, stride):
                reporter.step(progress.step, clock)
                stop = bool(requested)
                with clock.measure("watch"):
                    if progress.end_of_epoch:
                        history.append(self._row(program, clock, progress.step))
                        reporter.row(history[-1])
                    if stop or progress.end_of_epoch or time.monotonic() - last_saved > checkpoint_s:
                        self._save(program, clock, progress.step, history)
                        last_saved = time.monotonic()
                if stop:
                    raise Interrupted(self.resume_line)
        return self._finish(program, clock, history)

    def _save(self, program: Program, clock: Clock, step: int, history: list[Row]) -> None:
        state = program.state()
        if not all(bool(torch.isfinite(t).all()) for t in state.values()):
            raise diverged(program, step - 1)  # the state saved before this one is good and stays
        save_state(self.folder, state, step, self.seed, clock.seconds, history)

    def _row(self, program: Program, clock: Clock, step: int) -> Row:
        spe = program.steps_per_epoch
        first = (step - 1) // spe * spe
        epoch = (step - 1) // spe + 1
        row: Row = {
            "epoch": epoch,
            "step": step,
            "train_loss": program.losses[first:step].mean().item(),
            "train_accuracy": 100 * program.accuracies[first:step].mean().item(),
            "test_accuracy": None,
            "train_s": clock.seconds["train"],
            "images_per_s": step * program.plan.batch_size / max(clock.seconds["train"], 1e-9),
        }
        if self.eval_every and (epoch % self.eval_every == 0 or step == program.steps):
            row["test_accuracy"] = evaluate(program, "none").accuracy
        path = self.folder / "metrics.jsonl"
        try:
            with path.open("a", encoding="utf-8") as f:
                f.write(json.dumps(row) + "\n")
        except OSError as error:
            raise write_error(error, path, RUN_MEND) from error
        return row

    def _write_start(self, program: Program) -> None:
        engine = program.engine
        environment = {
            "data": self.data,
            "data_dir": str(self.data_dir.expanduser().absolute()) if self.data_dir else None,
            "seed": self.seed,
            "eval_every": self.eval_every,
            "device": str(engine.device),
            "precision": engine.precision,
            "memory_format": engine.memory_format,
            "compile": "on" if engine.compile else "off",
            "kernels": engine.kernels,
            "why": engine.why,
            "machine": machine.machine_facts(),
            "spec": asdict(program.dataset.spec),
        }
        write_atomic(self.folder / "recipe.toml", self.recipe.text().encode())
        write_atomic(self.folder / "environment.json", (json.dumps(environment, indent=1) + "\n").encode())

    def _finish(self, program: Program, clock: Clock, history: list[Row]) -> Result:
        plan, spec = program.plan, program.dataset.spec
        with clock.measure("eval"):
            final = evaluate(program)
        if not math.isfinite(final.loss):  # the last step's update is seen here first
            raise diverged(program, program.steps - 1)
        weights = program.evaluation_weights()
        images = program.steps * plan.batch_size
        summary = {
            "recipe": self.recipe.name,
            "data": self.data,
            "seed": self.seed,
            "accuracy": final.accuracy,
            "test_loss": final.loss,
            "views": final.views,
            "view_share": final.share,
            "single_view_accuracy": history[-1]["test_accuracy"] if history else None,
            "target": plan.target,
            "target_met": final.accuracy >= plan.target,
            "seconds": clock.summary(),
            "clock_drift_s": clock.drift,
            "epochs": plan.epochs,
            "steps": program.steps,
            "images": images,
            "images_per_s": images / max(clock.seconds["train"], 1e-9),
            "parameters": sum(p.numel() for p in program.model.parameters() if p.requires_grad),
            "device": str(program.engine.device),
            "precision": program.engine.precision,
            "memory_format": program.engine.memory_format,
            "compile": program.engine.compile,
            "kernels": program.engine.kernels,
            "machine": machine.machine_facts(),
        }
        save_model(self.folder / MODEL, weights, self.recipe.text(), spec)
        write_atomic(self.folder / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
        (self.folder / STATE).unlink(missing_ok=True)  # finished: nothing is left to resume
        with suppress(OSError):
            (self.folder / STATE.parent).rmdir()
        program.model.load_state_dict(weights)
        return Result(
            self.recipe.name,
            self.data,
            self.seed,
            final.accuracy,
            plan.target,
            history,
            clock.summary(),
            self.folder,
            summary,
            program.model.eval(),
            spec,
        )


def reopen(folder: Path) -> Run:
    """The run in a folder, with the data, seed, device and arithmetic it was started with.

    Raises:
        UserError: if the folder holds no run.
    """
    path = folder / "environment.json"
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))
        recipe = find(str(folder / "recipe.toml"))
        numerics = Numerics(
            **{k: environment[k] for k in ("precision", "memory_format", "compile", "kernels")}
        )
        data_dir = environment["data_dir"]
        return Run(
            recipe,
            environment["data"],
            environment["seed"],
            folder,
            environment["device"],
            Path(data_dir) if data_dir else None,
            environment["machine"]["threads"],
            environment["eval_every"],
            numerics,
        )
    except FileNotFoundError:
        raise UserError(
            f"{folder}: no run there (environment.json is missing); give a run's folder"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); start the run again") from None


def default_folder(recipe: str, data: str, seed: int) -> Path:
    """`runs/RECIPE-DATA-sSEED-TIME`, not there yet."""
    name = f"{recipe}-{data}-s{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    base = Path("runs") / slug(name)
    folder, n = base, 1
    while folder.exists():
        n += 1
        folder = base.with_name(f"{base.name}-{n}")
    return folder


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM are noted in, so that the step under way ends first.

    A second SIGINT interrupts at once. Outside the main thread signals are left alone.
    """
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if seen and number == signal.SIGINT:
            raise KeyboardInterrupt
        seen.append(number)

    try:
        old = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        yield seen
        return
    try:
        yield seen
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def start_run(
    recipe: str | Recipe = "muon94",
    data: str | None = None,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    data_dir: str | Path | None = None,
    threads: int | None = None,
    reporter: Reporter | None = None,
    **settings: Any,
) -> Result:
    """Train a recipe: `hotlap.train("muon94", data="cifar10", seed=0)`.

    Args:
        recipe: a built-in recipe's name, a TOML file, or a `Recipe`.
        data: a source as in `--data`; None takes the one the recipe was made for.
        seed: of everything random.
        out: the run's folder; None makes one under `runs/`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        data_dir: where to look for the data.
        threads: CPU threads.
        reporter: told about progress; None prints one line an epoch.
        settings: values of the plan by key, with `__` for a dot: `epochs=4.0, net__widths=[32, 64, 64]`.

    Raises:
        UserError: bad input of any kind, in one line.
    """
    made = recipe if isinstance(recipe, Recipe) else find(recipe)
    if settings:
        made = made.then(made.name, **{k.replace("__", "."): v for k, v in settings.items()})
    source = data or made.data
    folder = Path(out) if out else default_folder(made.name, source, seed)
    run = Run(made, source, seed, folder, device, Path(data_dir) if data_dir else None, threads)
    return run.go(reporter or PrintRows())


class PrintRows(Reporter):
    """One plain line an epoch on stderr."""

    def row(self, row: Row) -> None:
        test = "" if row["test_accuracy"] is None else f"  test {row['test_accuracy']:.2f}%"
        print(
            f"epoch {row['epoch']:>3}  loss {row['train_loss']:.3f}{test}  {row['train_s']:.1f} s",
            file=sys.stderr,
        )
