"""A benchmark of recipes and of other programs: many full runs, interleaved, in one sitting on one machine.

The contenders run in turn, round by round, in their order and then in reverse (A B C, C B A), so that what
drifts, such as the machine's temperature, meets all alike. Recipes train in this process: each is lowered
once and runs again for each seed. A peer is a command in a process of its own, which says its seconds and
accuracy. Every run lies in the folder as soon as it is done, so that an interrupted benchmark goes on where
it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from hotlap import data as datasets
from hotlap.data.dataset import Dataset
from hotlap.engine.evaluate import guessing_up_to
from hotlap.errors import UserError
from hotlap.files import Notify, silent, slug, write_atomic
from hotlap.inspect.cost import cost
from hotlap.inspect.roofline import convolution_peak
from hotlap.machine.backend import Backend
from hotlap.machine.device import prepare
from hotlap.machine.facts import machine_facts, machine_key
from hotlap.machine.resolve import resolve
from hotlap.measure.bench_folder import BenchFolder, Sitting
from hotlap.measure.cluster import Cluster
from hotlap.measure.peer import Peer, check_expressions, execute, read_peer
from hotlap.measure.standings import REPORTED, WALL, Summary, Timed, against, standing
from hotlap.measure.trainer import Trainer
from hotlap.plan.checks import check_plan
from hotlap.plan.recipe import Recipe
from hotlap.recipes import BUILTIN
from hotlap.runs.signals import terminated_as_interrupted

Contender = Recipe | Peer
C = TypeVar("C")


@dataclass(frozen=True)
class TrainerOf:
    """What a cluster's worker makes of the data: a function of a recipe, a seed and a round."""

    device: torch.device
    backends: Mapping[str, Backend]

    def __call__(self, dataset: Dataset) -> Callable[[Recipe, int, int], Timed]:
        return Trainer(dataset, self.device, self.backends).train


class Bench:
    """A benchmark: its contenders, its folder, and the programs of its recipes.

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
        self.store = BenchFolder(folder)
        self.threads, self.command, self.age_s = threads, command, age_s
        self.recipes = [c for c in self.contenders if isinstance(c, Recipe)]
        self.data = check_contenders(self.contenders, data)
        self.device = prepare(device, threads)
        self.backends = {r.name: resolve(r.plan().numerics, self.device) for r in self.recipes}
        self.facts = machine_facts()
        start = time.perf_counter()
        self.dataset = datasets.load(self.data, data_dir=data_dir, notify=notify)
        self.read_s = time.perf_counter() - start
        for recipe in self.recipes:
            check_plan(recipe.plan(), self.dataset.spec)
        self.trainer = Trainer(self.dataset, self.device, self.backends, age_s, self.read_s)
        self._open(notify)

    def _open(self, notify: Notify) -> None:
        """Make the folder, or find that it holds this very benchmark. Measures the machine's peak, once."""
        key = {
            "contenders": [self._describe(c) for c in self.contenders],
            "data": self.data,
            "seed": self.seed,
            "device": str(self.device),
            "machine": machine_key(),
        }
        held = self.store.peaks_held(key)
        if held is None:
            notify("measuring the machine's fastest convolution")
            backends = {b.arithmetic: b for b in self.backends.values()}
            held = {name: convolution_peak(backend) for name, backend in backends.items()}
            self.store.start(key, {"command": self.command, "peaks": held, "facts": self.facts})
        self.peaks = held
        for recipe in self.recipes:
            write_atomic(self.folder / "recipes" / f"{slug(recipe.name)}.toml", recipe.text().encode())

    def _describe(self, contender: Contender) -> dict[str, Any]:
        if isinstance(contender, Peer):
            return {"kind": "peer", **asdict(contender)}
        how = self.backends[contender.name].in_words
        return {"kind": "recipe", "name": contender.name, "text": contender.text(), "arithmetic": how}

    @property
    def sitting(self) -> Sitting:
        """What is compared here, and on what."""
        texts = {c.name: c.text() if isinstance(c, Recipe) else c.command for c in self.contenders}
        device = str(self.device)
        return Sitting(texts, self.data, self.seed, device, self.command, self.peaks, self.facts)

    def runs(self) -> list[Timed]:
        """The runs so far, in the order in which they were done."""
        return self.store.runs()

    def go(
        self, rounds: int, tell: Callable[[list[Timed], int, int], None], parallel: int = 1
    ) -> list[Timed]:
        """Run every contender once a round, but for what is done already.

        Args:
            parallel: rounds of a recipe that run beside each other.
            tell: called after each launch with its runs, its number from 1 and the number of all.

        Returns:
            all runs, in the order in which they were done.

        Raises:
            UserError: a peer fails or says nothing.
            KeyboardInterrupt: on SIGINT and SIGTERM; the run under way is lost and no other.
        """
        done = self.done()
        n, total = 0, rounds * len(self.contenders)
        with terminated_as_interrupted():
            for group, contender in schedule(self.contenders, -(-rounds // parallel)):
                together = range(group * parallel, min(rounds, (group + 1) * parallel))
                left = [i for i in together if (contender.name, i) not in done]
                n += len(together) - len(left)
                for made in self.launch(contender, left):
                    self.store.append(made)
                    n += 1
                    tell(made, n, total)
        return self.runs()

    def go_on(
        self, cluster: Cluster, rounds: int, tell: Callable[[list[Timed], int, int], None]
    ) -> list[Timed]:
        """As `go`, by a cluster's workers and of recipes only, each run as soon as a worker is free."""
        turns = schedule(self.recipes, rounds)
        done = self.done()
        left = [(c, self.seed + i, i) for i, c in turns if (c.name, i) not in done]
        count = len(turns) - len(left)
        with terminated_as_interrupted():
            for _, made in cluster.work(TrainerOf(self.device, self.backends), self.dataset, left):
                self.store.append([made])
                count += 1
                tell([made], count, len(turns))
        return self.runs()

    def done(self) -> set[tuple[str, int]]:
        """Contenders and rounds of the runs that are there."""
        return {(r.contender, r.round) for r in self.runs()}

    def launch(self, contender: Contender, rounds: Sequence[int]) -> Iterator[list[Timed]]:
        """The runs of a contender in each of some rounds: one, but for a peer that does several."""
        if isinstance(contender, Peer):
            yield from (self._launch_peer(contender, i) for i in rounds)
        elif rounds:
            for made in self.trainer.train_together(contender, [(self.seed + i, i) for i in rounds]):
                yield [made]

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
            plan, backend = c.plan(), self.backends[c.name]
            flops, peak = cost(plan, self.dataset.spec).training, self.peaks.get(backend.arithmetic)
            standings.append(standing(of[c.name], self.target(c), backend.in_words, flops, peak))
        first, *others = self.contenders
        ratios = [against(of[first.name], of[o.name]) for o in others]
        guessing = guessing_up_to(self.dataset.test.labels)
        return Summary(tuple(standings), tuple(a for a in ratios if a is not None), guessing)


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


def schedule(contenders: Sequence[C], rounds: int) -> list[tuple[int, C]]:
    """Who runs in which round, in order: every other round is reversed."""
    return [(i, c) for i in range(rounds) for c in (contenders if i % 2 == 0 else contenders[::-1])]
