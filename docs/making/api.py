"""Pages of the Python API, from docstrings, and how docstrings are read."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

import hotlap

# The documented modules, by page, beside what `hotlap` exports: of a package what it exports, of a module all
# of its own that is public, or what is named after a colon.
API = {
    "Plans": "plan plan.schedule plan.start data.loading machine.numerics plan.checks:check_plan",
    "Recipes and tricks": "recipes plan.recipe:starter plan.trick tricks plan.flat:flatten,unflatten,render"
    " recipes.fitting:Fitted,fitted",
    "Nets": "nets nets.describe nets.build nets.network:Network",
    "Optimizers and averages": "optim optim.groups:Group,Averaged",
    "Data": "data data.dataset data.decode:Picture,decode data.fit:fit data.sizing:choose_size data.patterns",
    "Augmentation": "data.augment:Epoch,Flip,Translate,Cutout,ColorJitter,Mixup,Cutmix",
    "Runs": "runs.reporter runs.run runs.execute:execute runs.folder:reopen"
    " runs.checkpoint:Preprocessing,load_model runs.report:write_report",
    "How steps are taken": "engine.clock engine.lower:lower engine.program engine.loop"
    " engine.evaluate:Score,evaluate engine.views:View machine.device:prepare machine.backend"
    " machine.resolve:resolve",
    "Models at work": "deploy.model:Loaded,open_model,evaluate_saved deploy.predict:Failure,stream"
    " deploy.export:export deploy.exported:Exported deploy.serve:app,serve",
    "Looking into a net": "inspect.cost inspect.gradcam:looked_at inspect.weights inspect.activations"
    " inspect.classification:Analysis,ClassScore,Confusion,Case,Calibration,Bin,analyse"
    " inspect.operations:StepProfile,profile_steps inspect.throughput:Projection,project"
    " inspect.roofline:Peaks,measure_peaks,convolution_peak,product_rate,memory_rate",
    "Measuring": "measure.bench:Bench measure.peer:Peer measure.standings measure.stats"
    " measure.profile:RunProfile,Stretch,profile_run measure.ladder:Ladder,Rung",
}
NAME = re.compile(r"[A-Za-z_][\w.]*")
QUOTED = re.compile(r"(?<![`:])`([^`]+)`(?!`)")


def api() -> tuple[dict[str, str], list[object]]:
    """The pages by name, and all that they document."""
    names = sorted((n for n in hotlap.__all__ if not n.startswith("_")), key=str.swapcase)  # functions first
    told = [getattr(hotlap, n) for n in names]
    text = titled("hotlap", "=") + ".. automodule:: hotlap\n   :no-members:\n\n"
    text += "".join(directive("hotlap", n) for n in names)
    made = {"hotlap": text}
    for title, modules in API.items():
        parts = [module(*word.partition(":")[::2], told) for word in modules.split()]
        made[title.lower().replace(" ", "-")] = titled(title, "=") + "".join(parts)
    return made, told


def titled(title: str, line: str) -> str:
    return f"{title}\n{line * len(title)}\n\n"


def directive(place: str, name: str) -> str:
    """The directive for what `place` calls `name`."""
    found = getattr(importlib.import_module(place), name)
    if not isinstance(found, type):
        return f".. autofunction:: {place}.{name}\n\n"
    kind = "exception" if issubclass(found, Exception) else "class"
    return f".. auto{kind}:: {place}.{name}\n   :members:\n\n"


def module(name: str, only: str, told: list[object]) -> str:
    """A module's section: its docstring, and what of it is documented that was not `told` of before."""
    path = f"hotlap.{name}"
    found = importlib.import_module(path)
    text = titled(path, "-") + f".. automodule:: {path}\n   :no-members:\n\n"
    for word in only.split(",") if only else public_names(found):
        if getattr(found, word) not in told:
            told.append(getattr(found, word))
            text += directive(path, word)
    return text


def public_names(found: object) -> list[str]:
    """The classes and functions that a package exports, or that a module defines, in order."""
    names = getattr(found, "__all__", None) or list(vars(found))
    own = f"{found.__name__}." if hasattr(found, "__path__") else found.__name__
    return [
        n
        for n in names
        if (inspect.isclass(v := getattr(found, n)) or inspect.isfunction(v))
        and not n.startswith("_")
        and v.__module__.startswith(own)
        and v.__doc__
    ]


def source(domain: str, about: dict[str, str]) -> str | None:
    """Where the code of a class or function is, from the page that it is documented on."""
    found = importlib.import_module(about["module"] or "hotlap")
    for word in about["fullname"].split("."):
        found = getattr(found, word, None)
    known = inspect.isclass(found) or inspect.isroutine(found)
    return f"../files/src/hotlap/{file_of(found)}.html" if known else None


def file_of(found: object) -> Path:
    """The file in the package that a class or function is in."""
    return Path(inspect.getfile(inspect.unwrap(found))).relative_to(Path(hotlap.__file__).parent)


def quote(app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]) -> None:
    """In a docstring, what stands between backticks as code, unless it may be a name to link."""
    text = QUOTED.sub(lambda m: m[0] if NAME.fullmatch(m[1]) else f"``{m[1]}``", "\n".join(lines))
    lines[:] = text.split("\n")


def colons(app: Sphinx, tree: nodes.document) -> None:
    """A colon between a parameter and what is said of it, as docstrings have it."""
    for dash in [t for t in tree.findall(nodes.Text) if t == " -- "]:
        dash.parent.replace(dash, nodes.Text(": "))


def shorten(
    app: Sphinx,
    what: str,
    name: str,
    found: object,
    options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """A class's signature, with of its defaults only what is not itself a default."""
    if is_dataclass(found) and signature:
        for field in fields(found):
            signature = signature.replace(f" = {field.default!r}", f" = {brief(field.default)}")
    return signature, returned


def brief(value: object) -> str:
    """The `repr` of a frozen value without the fields that are as they are anyway."""
    if isinstance(value, tuple):
        return f"({', '.join(map(brief, value))}{',' * (len(value) == 1)})"
    if not is_dataclass(value):
        return repr(value)
    said = [(f.name, getattr(value, f.name)) for f in fields(value) if getattr(value, f.name) != f.default]
    return f"{type(value).__name__}({', '.join(f'{name}={brief(v)}' for name, v in said)})"
