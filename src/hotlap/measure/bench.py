"""A benchmark of recipes and of other programs: many full runs, interleaved, in one sitting on one machine.

The contenders run in turn, round by round, in their order and then in reverse (A B C, C B A), so that what
drifts, such as the machine's temperature, meets all alike. Recipes train in this process: each is lowered
once and runs again for each seed. A peer is a command in a process of its own, which says its seconds and
accuracy. Every run lies in the folder as soon as it is done, so that an interrupted benchmark goes on where
it was.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from hotlap import data as datasets
from hotlap import machine
from hotlap.checks import check_plan
from hotlap.clock import Clock
from hotlap.cost import cost
from hotlap.errors import UserError
from hotlap.evaluate import evaluate
from hotlap.files import RUN_MEND, Notify, read_error, silent, slug, why, write_atomic, write_error
from hotlap.inspect.roofline import convolution_peak
from hotlap.loop import Diverged, diverged, train
from hotlap.measure.peer import Peer, check_expressions, execute, read_peer
from hotlap.measure.stats import Mean, Median, Ratio, Share, mean_of, median_of, p_below, ratio_of, share_of
from hotlap.measure.throughput import kinds_of_step
from hotlap.program import Program
from hotlap.recipe import Recipe
from hotlap.recipes import BUILTIN

OWN, REPORTED, WALL = "hotlap", "reported", "wall"  # whose clock a run's seconds are from
Contender = Recipe | Peer


@dataclass(frozen=True)
class Timed:
    """One run of a contender.

    Args:
        contender: its name.
        round, part: which round it belongs to, and which run of the round's launch it is, both from 0.
        seed: it was given.
        accuracy: on the test set, in percent, with the contender's own views.
        train_s, eval_s: counted seconds; None for an evaluation that is not reported apart.
        clock: whose seconds they are: `hotlap`, `reported` by a peer, or `wall` where a peer reports none.
        wall_s: of a peer's process, from its start to its end.
        seconds: of a recipe, all of its clock's intervals; the first run of a process holds what was spent
            once, `cold`, `load` and `compile`.
    """

    contender: str
    round: int
    part: int
    seed: int
    accuracy: float
    train_s: float
    eval_s: float | None
    clock: str
    wall_s: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def counted_s(self) -> float:
        """Training and evaluation."""
        return self.train_s + (self.eval_s or 0.0)


@dataclass(frozen=True)
class Standing:
    """What a contender's runs come to.

    Args:
        name: the contender's.
        clock: whose seconds they are; see `Timed`.
        target: in percent; None on data that the recipes have none for.
        accuracy: in percent.
        p_below: one-sided p that the mean accuracy is below the target; None for one run.
        at_target: runs that reached it.
        train, eval, counted: seconds; `eval` None where it is not reported apart.
        arithmetic: precision, layout and own kernels, of a recipe.
        flops: of one training run; None for a peer, of which it is not known.
        flop_per_s: those over the median training seconds.
        peak_share: that, of the fastest convolution measured in the same precision and layout.
    """

    name: str
    clock: str
    target: float | None
    accuracy: Mean
    p_below: float | None
    at_target: Share | None
    train: Median
    eval: Median | None
    counted: Median
    arithmetic: str = ""
    flops: int | None = None
    flop_per_s: float | None = None
    peak_share: float | None = None


@dataclass(frozen=True)
class Against:
    """The first contender's seconds over another's: training and evaluation, and training alone."""

    first: str
    other: str
    counted: Ratio
    train: Ratio


@dataclass(frozen=True)
class Summary:
    """A benchmark's statistics: every contender, in order, and the first against each other."""

    standings: tuple[Standing, ...]
    against: tuple[Against, ...]


class Bench:
    """A benchmark's folder, and the programs of its recipes.

    Args:
        contenders: in order, of different names, at least one of them a recipe.
        folder: where results are kept; made if need be.
        seed: of the first round; the next has the next one.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        data: a source that takes the place of the recipes' own.
        data_dir: where to look for the data.
        threads: CPU threads that were asked for; a peer is told by OMP_NUM_THREADS.
        command: what was typed, for the record.
        age_s: seconds this process had run when it was called, which count as `cold`.
        notify: told what is measured before the first run.

    Raises:
        UserError: contenders that cannot be compared or cannot run on the data; the folder holds something
            else, or a benchmark of other contenders, on other data or another machine.
    """

    def __init__(
        self,
        contenders: Sequence[Contender],
        folder: Path,
        seed: int = 0,
        device: str = "auto",
        data: str | None = None,
        data_dir: Path | None = None,
        threads: int | None = None,
        command: str = "",
        age_s: float = 0.0,
        notify: Notify = silent,
    ):
        self.contenders, self.folder, self.seed = tuple(contenders), folder, seed
        self.threads, self.command, self.age_s = threads, command, age_s
        self.recipes = [c for c in self.contenders if isinstance(c, Recipe)]
        self.data = check_contenders(self.contenders, data)
        self.device = machine.pick_device(device)
        if self.device.type == "cpu":
            machine.tune_allocator()
        self.engines = {r.name: machine.resolve(r.plan().numerics, self.device) for r in self.recipes}
        self.facts = machine.machine_facts()
        start = time.perf_counter()
        self.dataset = datasets.load(self.data, data_dir=data_dir, notify=notify)
        self.read_s = time.perf_counter() - start
        for recipe in self.recipes:
            check_plan(recipe.plan(), self.dataset.spec)
        self.programs: dict[str, Program] = {}
        self._open(notify)

    @property
    def runs_path(self) -> Path:
        return self.folder / "runs.jsonl"

    def _open(self, notify: Notify) -> None:
        """Make the folder, or find that it holds this very benchmark. Measures the machine's peak, once."""
        path = self.folder / "bench.json"
        described = [self._describe(c) for c in self.contenders]
        key = {
            "contenders": described,
            "data": self.data,
            "seed": self.seed,
            "device": str(self.device),
            "machine": machine.machine_key(),
        }
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder}: is a file; choose another --out")
        if path.exists():
            self.peaks = self._peaks_held(path, key)
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise UserError(f"{self.folder}: is not empty and holds no benchmark; choose another --out")
        else:
            notify("measuring the machine's fastest convolution")
            engines = {e.arithmetic: e for e in self.engines.values()}
            self.peaks = {name: convolution_peak(engine) for name, engine in engines.items()}
            held = {**key, "command": self.command, "peaks": self.peaks, "facts": self.facts}
            write_atomic(path, (json.dumps(held, indent=1) + "\n").encode())
        for recipe in self.recipes:
            write_atomic(self.folder / "recipes" / f"{slug(recipe.name)}.toml", recipe.text().encode())

    def _describe(self, contender: Contender) -> dict[str, Any]:
        if isinstance(contender, Peer):
            return {"kind": "peer", **asdict(contender)}
        how = self.engines[contender.name].in_words
        return {"kind": "recipe", "name": contender.name, "text": contender.text(), "arithmetic": how}

    def _peaks_held(self, path: Path, key: dict[str, Any]) -> dict[str, float]:
        """The peaks in the folder's bench.json, if it is of this very benchmark."""
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            old, peaks = held["contenders"], dict(held["peaks"])
            names = [c["name"] for c in old]
        except OSError as error:
            raise read_error(error, path) from None
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}: damaged; choose another --out") from None
        where = {
            "machine": "on another machine",
            "device": "on another device",
            "data": "on other data",
            "seed": f"from seed {held.get('seed')} on",
        }
        for name, what in where.items():
            if held.get(name) != key[name]:
                raise UserError(f"{self.folder}: was measured {what}; choose another --out")
        if names != [c.name for c in self.contenders]:
            raise UserError(f"{self.folder}: is of {', '.join(names)}; choose another --out")
        words = {"text": "recipe", "seconds": "--peer-seconds", "accuracy": "--peer-accuracy"}
        for before, now in zip(old, key["contenders"], strict=True):
            for changed in (k for k in now if before.get(k) != now[k]):
                raise UserError(
                    f"{self.folder}: {now['name']} had another {words.get(changed, changed)} there;"
                    " choose another --out"
                )
        return peaks

    def runs(self) -> list[Timed]:
        """The runs so far, in the order in which they were done.

        Raises:
            UserError: the file of runs is damaged.
        """
        try:
            text = self.runs_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise read_error(error, self.runs_path) from None
        whole, _, torn = text.rpartition("\n")
        if torn:  # a process that was killed left half a line: that run is done again
            write_atomic(self.runs_path, (whole + "\n" if whole else "").encode())
        try:
            return [Timed(**json.loads(line)) for line in whole.splitlines()]
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.runs_path}: damaged ({why(error)}); choose another --out") from None

    def go(self, rounds: int, tell: Callable[[list[Timed], int, int], None]) -> list[Timed]:
        """Run every contender once a round, but for what is done already.

        Args:
            tell: called after each launch with its runs, its number from 1 and the number of all.

        Returns:
            all runs, in the order in which they were done.

        Raises:
            UserError: a peer fails or says nothing, a recipe diverges.
            KeyboardInterrupt: on SIGINT and SIGTERM; the run under way is lost and no other.
        """
        done = {(r.contender, r.round) for r in self.runs()}
        turns = schedule(self.contenders, rounds)
        with terminated_as_interrupted():
            for n, (i, contender) in enumerate(turns, start=1):
                if (contender.name, i) not in done:
                    made = self.launch(contender, i)
                    self._append(made)
                    tell(made, n, len(turns))
        return self.runs()

    def launch(self, contender: Contender, i: int) -> list[Timed]:
        """The runs of a contender's launch in round `i`: one, but for a peer that does several."""
        if isinstance(contender, Peer):
            return self._launch_peer(contender, i)
        return [self._train(contender, i)]

    def _append(self, runs: list[Timed]) -> None:
        lines = "".join(json.dumps(asdict(run)) + "\n" for run in runs)
        try:
            with self.runs_path.open("a", encoding="utf-8") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(error, self.runs_path, RUN_MEND) from error

    def _train(self, recipe: Recipe, i: int) -> Timed:
        seed, name = self.seed + i, recipe.name
        clock = Clock(self.device, 0.0 if self.programs else self.age_s)
        first = name not in self.programs
        if first:
            self.programs[name] = self._lower(recipe, clock)
        program = self.programs[name]
        try:
            for _ in train(program, clock, seed):
                pass
            with clock.measure("eval"):
                final = evaluate(program)
            if not math.isfinite(final.loss):  # the last step's update is seen here first
                raise diverged(program, program.steps - 1)
        except Diverged as error:
            raise Diverged(f"{name}, seed {seed}: {error}") from None
        found = clock.summary()
        found["load"] += first * self.read_s
        return Timed(name, i, 0, seed, final.accuracy, found["train"], found["eval"], OWN, seconds=found)

    def _lower(self, recipe: Recipe, clock: Clock) -> Program:
        program = Program(recipe.plan(), self.dataset, self.engines[recipe.name])
        with clock.measure("compile"):
            program.compile()
            warm_up(program)
        with clock.measure("load"):
            program.upload()
        return program

    def _launch_peer(self, peer: Peer, i: int) -> list[Timed]:
        seed = self.seed + i
        base = self.folder / "peers" / f"{slug(peer.name)}-s{seed}"
        wall_s, status = execute(peer, seed, base, self.threads)
        out, err = (
            base.with_name(f"{base.name}.{kind}").read_text(errors="replace") for kind in ("out", "err")
        )
        where = f"--peer {peer.name}, seed {seed}"
        last = next(
            (line.strip() for line in reversed(err.splitlines()) if line.strip()), "nothing on stderr"
        )
        see = f"its output is in {base}.out and .err"
        if status != 0:
            raise UserError(f"{where}: exit status {status}: {last}; {see}")
        readings = read_peer(peer, out, where)
        if not readings:
            raise UserError(
                f"{where}: says no accuracy ({last}); end it with a line such as"
                f' {{"train_s": 9.5, "accuracy": 94.1}}, or give --peer-accuracy; {see}'
            )
        if len(readings) > 1 and readings[0].train_s is None:
            raise UserError(f"{where}: {len(readings)} runs in a launch and no seconds; give --peer-seconds")
        made = []
        for part, r in enumerate(readings):
            clock, train_s = (WALL, wall_s) if r.train_s is None else (REPORTED, r.train_s)
            eval_s = None if r.train_s is None else r.eval_s  # a process's wall seconds hold the evaluation
            made.append(Timed(peer.name, i, part, seed, r.accuracy, train_s, eval_s, clock, wall_s))
        return made

    def target(self, recipe: Recipe) -> float | None:
        """What a recipe aims at here, in percent: on its own data, or where it was told what to aim at.

        None for a built-in recipe on data that it was not made for.
        """
        told = any(step.key == "target" for step in recipe.own) and recipe not in BUILTIN.values()
        return recipe.plan().target if told or recipe.data == self.data else None

    def summary(self) -> Summary:
        """The statistics of the runs so far, of which every contender has at least one."""
        runs = self.runs()
        of = {c.name: [r for r in runs if r.contender == c.name] for c in self.contenders}
        standings = []
        for c in self.contenders:
            if isinstance(c, Peer):
                standings.append(standing(of[c.name], self.target(self.recipes[0])))
                continue
            plan, engine = c.plan(), self.engines[c.name]
            flops, peak = cost(plan, self.dataset.spec).training, self.peaks.get(engine.arithmetic)
            standings.append(standing(of[c.name], self.target(c), engine.in_words, flops, peak))
        first, *others = self.contenders
        return Summary(tuple(standings), tuple(against(of[first.name], of[o.name]) for o in others))


def check_contenders(contenders: Sequence[Contender], data: str | None) -> str:
    """The data set that all recipes train on.

    Raises:
        UserError: a name stands twice, the recipes are for different sets and none was given, or a peer's
            command or regular expression is none.
    """
    names = [slug(c.name) for c in contenders]
    for contender in contenders:
        if names.count(slug(contender.name)) > 1:
            raise UserError(f"{contender.name}: two contenders of this name; give each its own")
        if isinstance(contender, Peer):
            contender.words(0)
            check_expressions(contender)
    recipes = [c for c in contenders if isinstance(c, Recipe)]
    for recipe in recipes:
        if data is None and recipe.data != recipes[0].data:
            a, b = recipes[0], recipe
            raise UserError(f"{a.name} is for {a.data} and {b.name} for {b.data}; choose with --data")
    return data or recipes[0].data


def schedule(contenders: Sequence[Contender], rounds: int) -> list[tuple[int, Contender]]:
    """Who runs in which round, in order: every other round is reversed."""
    return [(i, c) for i in range(rounds) for c in (contenders if i % 2 == 0 else contenders[::-1])]


def standing(
    runs: Sequence[Timed],
    target: float | None,
    how: str = "",
    flops: int | None = None,
    peak: float | None = None,
) -> Standing:
    """What the runs of one contender come to."""
    accuracies = [r.accuracy for r in runs]
    train = median_of([r.train_s for r in runs])
    evals = [r.eval_s for r in runs if r.eval_s is not None]
    rate = flops / train.median if flops else None
    return Standing(
        runs[0].contender,
        " and ".join(sorted({r.clock for r in runs})),
        target,
        mean_of(accuracies),
        None if target is None else p_below(accuracies, target),
        None if target is None else share_of(sum(a >= target for a in accuracies), len(runs)),
        train,
        median_of(evals) if len(evals) == len(runs) else None,
        median_of([r.counted_s for r in runs]),
        how,
        flops,
        rate,
        rate / peak if rate and peak else None,
    )


def against(first: Sequence[Timed], other: Sequence[Timed]) -> Against:
    """The seconds of one contender over another's, by the rounds that both have run.

    The runs of one launch count as one, by the mean of their logarithms.
    """
    rounds = sorted({r.round for r in first} & {r.round for r in other})

    def seconds(runs: Sequence[Timed], of: Callable[[Timed], float]) -> list[float]:
        each = ([math.log(of(r)) for r in runs if r.round == i] for i in rounds)
        return [math.exp(math.fsum(logs) / len(logs)) for logs in each]

    def ratio(of: Callable[[Timed], float]) -> Ratio:
        return ratio_of(seconds(first, of), seconds(other, of))

    names = first[0].contender, other[0].contender
    return Against(*names, ratio(lambda r: r.counted_s), ratio(lambda r: r.train_s))


def warm_up(program: Program) -> None:
    """One step of each kind on random images, so that the first run finds the kernels and buffers that later
    ones find. `begin` starts anew. On CUDA compiling has done it."""
    if program.engine.device.type == "cuda":
        return
    program.train_set.images.random_(256)
    program.feed.assume_prelude()
    program.begin(0)
    for steps in kinds_of_step(program).values():
        program.run(steps[0], steps[0] + 1)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, as SIGINT does, so that a peer under way is ended too.

    Outside the main thread signals are left alone.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
