"""Topics of `hotlap explain`: the experiment behind an idea, run here. One file each, found by looking.

A topic measures first (plain numbers, which go to `results.json`), then draws and concludes from those
numbers alone. Importing topics does not import torch; running one does.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hotlap.errors import UserError, did_you_mean
from hotlap.report.page import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hotlap.data.dataset import Dataset
    from hotlap.machine.backend import Backend


def say_nothing(text: str) -> None:
    pass


def tick_nothing(done: int, total: int, what: str) -> None:
    pass


@dataclass(frozen=True)
class Setting:
    """What an experiment is run with.

    Args:
        dataset: the whole set; a topic takes the part it needs.
        backend: device and arithmetic of the small nets.
        seeds: training runs are repeated with each, and their results averaged.
        quick: take so little that the experiment ends in seconds: to see that it runs, not to conclude.
        recipes: names of recipes to look at, where a topic takes some.
        say: told in a line what is being done.
        tick: told how many parts of how many are done, and what the next one is.
    """

    dataset: Dataset
    backend: Backend
    seeds: tuple[int, ...] = (0,)
    quick: bool = False
    recipes: tuple[str, ...] = ()
    say: Callable[[str], None] = say_nothing
    tick: Callable[[int, int, str], None] = tick_nothing


@dataclass(frozen=True)
class Drawing:
    """A picture: its file is `NAME.svg`."""

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Titled:
    """A table of results and what it shows."""

    title: str
    table: Table


@dataclass(frozen=True)
class Outcome:
    """What an experiment came to.

    Args:
        answer: sentences made from the numbers.
        tables, drawings: the numbers for reading and for looking at.
        results: all numbers, as JSON takes them.
    """

    answer: str
    tables: tuple[Titled, ...]
    drawings: tuple[Drawing, ...]
    results: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Topic:
    """An idea that can be put to the test.

    Args:
        name: what it is called on the command line.
        title: what it is about.
        question: what the experiment answers.
        chapter: the handbook's chapter, a file in docs/handbook.
        function: the experiment.
        conclude: what its numbers come to, from `Outcome.results` alone.
        takes_recipes: whether `Setting.recipes` means something to it.
    """

    name: str
    title: str
    question: str
    chapter: str
    function: Callable[[Setting], Outcome]
    conclude: Callable[[dict[str, Any]], Outcome]
    takes_recipes: bool = False


def discover() -> dict[str, Topic]:
    """Every topic by name, in the order of the handbook's chapters."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if info.name != "small"]
    found: list[Topic] = [importlib.import_module(f"{__name__}.{name}").TOPIC for name in names]
    return {t.name: t for t in sorted(found, key=lambda t: (t.chapter, t.name))}


def find(name: str) -> Topic:
    """The topic called `name`.

    Raises:
        UserError: if there is none, with the nearest name.
    """
    topics = discover()
    if name not in topics:
        near = did_you_mean(name, topics)
        raise UserError(f"explain: no topic called {name!r}{near}; see `hotlap explain list`")
    return topics[name]
