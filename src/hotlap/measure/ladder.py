"""A ladder of recipes: what each takes, what it reaches, and how many seconds it buys over another.

Every rung's results lie in a folder as they come, so that an interrupted ladder goes on where it was.
"""

from __future__ import annotations

import gc
import json
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hotlap import data as datasets
from hotlap.data.dataset import Dataset
from hotlap.engine.diverged import Diverged
from hotlap.engine.lower import lower
from hotlap.errors import UserError
from hotlap.files import read_error, slug, write_atomic
from hotlap.inspect.throughput import Projection, project
from hotlap.machine.device import prepare
from hotlap.machine.facts import machine_facts, machine_key
from hotlap.machine.resolve import resolve
from hotlap.measure.cluster import Cluster
from hotlap.plan.recipe import Recipe
from hotlap.recipes.published import PUBLISHED, Published
from hotlap.runs.checkpoint import STATE
from hotlap.runs.execute import execute
from hotlap.runs.folder import reopen
from hotlap.runs.reporter import Reporter
from hotlap.runs.run import Run
from hotlap.runs.signals import terminated_as_interrupted

DIVERGED = "diverged.txt"  # in a run's folder: what there is to say of it


@dataclass(frozen=True)
class Trained:
    """One full run of a rung: its seed, test accuracy in percent, and counted seconds."""

    seed: int
    accuracy: float
    train_s: float
    eval_s: float


@dataclass(frozen=True)
class Rung:
    """What is known of one recipe of a ladder.

    Attributes:
        name: the recipe's.
        epochs, batch_size: of its plan.
        arithmetic: precision and layout it was measured in.
        projection: None if every rung is trained in full.
        runs: those trained in full.
        diverged: of those that were to be trained, how many ended in a loss that is no number.
    """

    name: str
    epochs: float
    batch_size: int
    arithmetic: str = ""
    projection: Projection | None = None
    runs: tuple[Trained, ...] = ()
    diverged: int = 0

    @property
    def published(self) -> Published | None:
        return PUBLISHED.get(self.name)

    @property
    def accuracy(self) -> float | None:
        """Mean test accuracy of the full runs, in percent."""
        return statistics.fmean(r.accuracy for r in self.runs) if self.runs else None

    @property
    def seconds(self) -> float | None:
        """Of training: projected, or the median of the full runs where nothing was projected."""
        if self.projection is not None:
            return self.projection.train_s
        return self.trained_s

    @property
    def trained_s(self) -> float | None:
        """Median training seconds of the full runs."""
        return statistics.median(r.train_s for r in self.runs) if self.runs else None


@dataclass(frozen=True)
class Row:
    """A rung beside the one it follows.

    Attributes:
        bought_s: seconds by which the rung is faster than the one it follows; negative if it is slower.
        bought_share: that, as a share of the other's seconds.
        published_bought_s: the same of the published times.
        aside: an experiment beside the story, or with another goal.
    """

    rung: Rung
    bought_s: float | None
    bought_share: float | None
    published_bought_s: float | None
    aside: bool


def compare(rungs: Iterable[Rung]) -> list[Row]:
    """Each rung beside the nearest of the ladder that was published before it in its story; a rung without
    published figures beside the one above it."""
    rows: list[Row] = []
    known: dict[str, Rung] = {}
    above: Rung | None = None
    for rung in rungs:
        figures = rung.published
        before = nearest(figures, known) if figures else above
        bought = share = published = None
        if before is not None and rung.seconds is not None and before.seconds is not None:
            bought = before.seconds - rung.seconds
            share = bought / before.seconds
        if figures and before is not None and before.published and before.published.device == figures.device:
            published = before.published.seconds - figures.seconds
        rows.append(Row(rung, bought, share, published, figures.aside if figures else False))
        known[rung.name] = above = rung
    return rows


def nearest(figures: Published, known: dict[str, Rung]) -> Rung | None:
    """The nearest rung of `known` that comes before a published one in its story."""
    while figures.follows is not None:
        if figures.follows in known:
            return known[figures.follows]
        figures = PUBLISHED[figures.follows]
    return None


class Ladder:
    """A ladder's folder: its settings, one JSON file for each rung's projection, one folder for each run.

    Args:
        recipes: the rungs, in order.
        folder: where results are kept; made if need be.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        data: a source that takes the place of the recipes' own.
        data_dir: where to look for the data.
        threads: CPU threads; None leaves PyTorch's choice.

    Raises:
        UserError: the folder holds something else, or a ladder of other recipes or another machine.
    """

    def __init__(
        self,
        recipes: list[Recipe],
        folder: Path,
        device: str = "auto",
        data: str | None = None,
        data_dir: Path | None = None,
        threads: int | None = None,
    ):
        self.recipes, self.folder, self.device = recipes, folder, device
        self.data, self.data_dir, self.threads = data, data_dir, threads
        self.sets: dict[str, Dataset] = {}
        self.torch_device = prepare(device, threads)
        self._open()

    def _open(self) -> None:
        """Make the folder, or find that it holds this very ladder."""
        path = self.folder / "ladder.json"
        self.facts = machine_facts()
        key = {
            "recipes": {r.name: r.text() for r in self.recipes},
            "data": self.data,
            "device": str(self.torch_device),
            "machine": machine_key(),
        }
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder}: is a file; choose another --out")
        if not path.exists():
            if self.folder.exists() and any(self.folder.iterdir()):
                raise UserError(f"{self.folder}: is not empty and holds no ladder; choose another --out")
            write_atomic(path, (json.dumps({**key, "facts": self.facts}, indent=1) + "\n").encode())
            return
        held = read_json(path)
        for name, what in (("machine", "on another machine"), ("device", "on another device")):
            if held.get(name) != key[name]:
                raise UserError(f"{self.folder}: was measured {what}; choose another --out")
        if held.get("data") != key["data"]:
            raise UserError(f"{self.folder}: was measured on other data; choose another --out")
        old = held.get("recipes", {})
        for name, text in key["recipes"].items():  # type: ignore[union-attr]
            if old.get(name, text) != text:
                raise UserError(f"{self.folder}: {name} was another recipe there; choose another --out")
        merged = {**held, "recipes": {**old, **key["recipes"]}}  # type: ignore[dict-item]
        write_atomic(path, (json.dumps(merged, indent=1) + "\n").encode())

    def source(self, recipe: Recipe) -> str:
        return self.data or recipe.data

    def rung(self, recipe: Recipe) -> Rung:
        """What is known of a recipe so far."""
        plan, path = recipe.plan(), self._path(recipe)
        rung = Rung(recipe.name, plan.epochs, plan.batch_size)
        if path.exists():
            held = read_json(path)
            rung = replace(rung, arithmetic=held["arithmetic"], projection=Projection(**held["projection"]))
        runs, folders = [], self._run_folders(recipe)
        for folder in folders:
            if (folder / "summary.json").exists():
                s = read_json(folder / "summary.json")
                runs.append(Trained(s["seed"], s["accuracy"], s["seconds"]["train"], s["seconds"]["eval"]))
                precision = f"{s['precision']}, {s['memory_format'].replace('_', '-')}"
                rung = replace(rung, arithmetic=rung.arithmetic or precision)
        diverged = sum((folder / DIVERGED).exists() for folder in folders)
        return replace(rung, runs=tuple(sorted(runs, key=lambda r: r.seed)), diverged=diverged)

    def rungs(self) -> list[Rung]:
        """What is known of all rungs so far."""
        return [self.rung(recipe) for recipe in self.recipes]

    def has_measured(self, recipe: Recipe) -> bool:
        """Whether a rung's projection is kept from before."""
        return self._path(recipe).exists()

    def measure(self, recipe: Recipe, measure_s: float) -> Rung:
        """Project a rung's time from some of its steps, unless that was done before.

        Args:
            measure_s: seconds to spend on timing steps.
        """
        if self.has_measured(recipe):
            return self.rung(recipe)
        plan, source = recipe.plan(), self.source(recipe)
        if source not in self.sets:
            self.sets[source] = datasets.load(source, data_dir=self.data_dir)
        dataset = self.sets[source]
        backend = resolve(plan.numerics, self.torch_device)
        program = lower(plan, dataset, backend)
        program.compile()
        program.upload()
        found = {
            "recipe": recipe.name,
            "arithmetic": backend.in_words,
            "why": backend.why,
            "projection": asdict(project(program, measure_s)),
        }
        write_atomic(self._path(recipe), (json.dumps(found, indent=1) + "\n").encode())
        del program
        gc.collect()  # a program refers to itself, and holds gigabytes that the next rung needs
        return self.rung(recipe)

    def train(self, recipe: Recipe, seed: int, reporter: Reporter) -> None:
        """Train a rung in full, or go on with its run, unless that is done. A run that diverges is said, and
        counts as done.

        Raises:
            Interrupted: after SIGINT or SIGTERM, with the run's state saved.
        """
        folder = self._run_folder(recipe, seed)
        if self._is_done(folder):
            return
        resume = (folder / STATE).is_file()
        if resume:
            run = reopen(folder)
        else:
            if folder.is_dir():  # stopped before its first state: nothing is lost by starting again
                shutil.rmtree(folder)
            source = self.source(recipe)
            run = Run(recipe, source, seed, folder, self.device, self.data_dir, self.threads)
        try:
            execute(run, reporter, resume=resume)
        except Diverged as error:
            reporter.note(f"{recipe.name}, seed {seed}: {error}")
            write_atomic(folder / DIVERGED, f"{error}\n".encode())

    def train_all(
        self, cluster: Cluster, recipes: Sequence[Recipe], seeds: int, tell: Callable[[Recipe, int], None]
    ) -> None:
        """Train rungs in full by a cluster's workers, but for what is done already.

        Args:
            tell: called after each run with its recipe and seed.
        """
        jobs = [
            (recipe, self.source(recipe), seed)
            for seed in range(seeds)
            for recipe in recipes
            if not self._is_done(self._run_folder(recipe, seed))
        ]
        for source in {source for _, source, _ in jobs} - self.sets.keys():
            self.sets[source] = datasets.load(source, data_dir=self.data_dir)
        make = RunsOf(str(self.torch_device), cluster.threads)
        with terminated_as_interrupted():
            for (recipe, _, seed), files in cluster.work(make, self.sets, jobs):
                write_folder(self._run_folder(recipe, seed), files)
                tell(recipe, seed)

    def _run_folders(self, recipe: Recipe) -> list[Path]:
        """Those of all its seeds; `demo-small-s0` is none of `demo`."""
        start = f"{slug(recipe.name)}-s"
        found = sorted((self.folder / "runs").glob(f"{start}*"))
        return [path for path in found if path.name.removeprefix(start).isdecimal()]

    def _run_folder(self, recipe: Recipe, seed: int) -> Path:
        return self.folder / "runs" / f"{slug(recipe.name)}-s{seed}"

    def _is_done(self, folder: Path) -> bool:
        return (folder / "summary.json").exists() or (folder / DIVERGED).exists()

    def _path(self, recipe: Recipe) -> Path:
        return self.folder / "rungs" / f"{slug(recipe.name)}.json"


@dataclass(frozen=True)
class RunsOf:
    """What a cluster's worker makes of the data sets: a function of a recipe, its data and a seed, which
    trains and gives back the files of the run's folder."""

    device: str
    threads: int

    def __call__(self, sets: Mapping[str, Dataset]) -> Callable[[Recipe, str, int], dict[str, bytes]]:
        def train(recipe: Recipe, source: str, seed: int) -> dict[str, bytes]:
            with tempfile.TemporaryDirectory(prefix="hotlap-") as made:
                folder = Path(made) / "run"
                run = Run(recipe, source, seed, folder, self.device, threads=self.threads)
                try:
                    execute(run, Reporter(), dataset=sets[source])
                except Diverged as error:
                    write_atomic(folder / DIVERGED, f"{error}\n".encode())
                files = (path for path in folder.rglob("*") if path.is_file())
                return {str(path.relative_to(folder)): path.read_bytes() for path in files}

        return train


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """A run's folder with these files, there when all of them are."""
    made = folder.with_name(f".{folder.name}.part")
    for path in (made, folder):  # of a run that was stopped
        if path.is_dir():
            shutil.rmtree(path)
    for name, content in files.items():
        write_atomic(made / name, content)
    made.replace(folder)


def within_budget(rungs: list[Rung], budget_s: float, seeds: int) -> list[str]:
    """Names of the rungs whose projected runs fit the budget together, the cheapest chosen first."""
    chosen, left = [], budget_s
    for rung in sorted(rungs, key=lambda r: r.seconds or 0.0):
        cost = seeds * ((rung.seconds or 0.0) + (rung.projection.eval_s if rung.projection else 0.0))
        if cost <= left:
            chosen.append(rung.name)
            left -= cost
    return [r.name for r in rungs if r.name in chosen]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a ladder's folder.

    Raises:
        UserError: it cannot be read, or is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise read_error(error, path) from None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path}: damaged; delete it and run the same command again")
    return value
