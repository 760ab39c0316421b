"""What `make docs` writes before Sphinx reads: pages of the API, the verbs, the tricks and the recipes.

All of it comes from the code: docstrings, argparse parsers, cards. It goes to docs/reference/, which git
ignores.
"""

from __future__ import annotations

import argparse
import inspect
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from api import api, file_of
from files import stand_ins

import hotlap
from hotlap.cli.arguments import HelpFormatter
from hotlap.cli.main import build_parser
from hotlap.cli.tricks import card_of
from hotlap.recipes import BUILTIN
from hotlap.tricks import discover


def write(root: Path) -> None:
    """All generated pages of the repository at `root`, made anew."""
    shutil.rmtree(root / "docs" / "reference", ignore_errors=True)
    python, documented = api()
    code = {f"src/hotlap/{file_of(found)}" for found in [*documented, *discover().values()]}
    made = {
        **{f"api/{name}.rst": text for name, text in python.items()},
        "api/index.md": f"# The Python API\n\n{contents(python)}",
        **verbs(),
        **cards(),
        "recipes.md": recipes(),
        **{f"files/{name}": text for name, text in stand_ins(root, code).items()},
    }
    for name, text in made.items():
        path = root / "docs" / "reference" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def contents(pages: Iterable[str], hidden: bool = False) -> str:
    """The list of the pages below one; hidden where a table of them stands there already."""
    return "\n".join(["```{toctree}", ":hidden:" if hidden else ":maxdepth: 1", "", *pages, "```", ""])


# -- the command line ----------------------------------------------------------------------------


def verbs() -> dict[str, str]:
    """A page for each verb, from its parser."""
    parsers = subparsers(build_parser())
    made = {f"cli/{name}.md": verb(parser) for name, (_, parser) in parsers.items()}
    rows = "".join(f"| [`hotlap {name}`]({name}.md) | {said} |\n" for name, (said, _) in parsers.items())
    index = f"# The command line\n\n| verb | what it does |\n|---|---|\n{rows}\n{build_parser().epilog}\n\n"
    return {**made, "cli/index.md": index + contents(parsers, hidden=True)}


def subparsers(parser: argparse.ArgumentParser) -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """A parser's verbs or actions by name: what is said of each in a list, and its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            said = {a.dest: a.help or "" for a in action._choices_actions}
            return {name: (said[name], sub) for name, sub in action.choices.items()}
    return {}


def verb(parser: argparse.ArgumentParser) -> str:
    examples = (parser.epilog or "").partition("\n")[2]
    text = f"# {parser.prog}\n\n{parser.description}\n\n"
    actions = subparsers(parser)
    if not actions:
        text += usage(parser)
    text += f"```text\n{inspect.cleandoc(examples)}\n```\n\n" if examples else ""
    text += "" if actions else options(parser)
    for said, action in actions.values():
        text += f"## {action.prog}\n\n{said[:1].upper()}{said[1:]}.\n\n{usage(action)}{options(action)}"
    return text


def usage(parser: argparse.ArgumentParser) -> str:
    return f"```text\n{parser.format_usage()}```\n\n"


def options(parser: argparse.ArgumentParser) -> str:
    formatter = HelpFormatter(parser.prog)
    text = f"```{{program}} {parser.prog}\n```\n\n"
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            words = formatter._format_action_invocation(action)
            said = formatter._expand_help(action) if action.help else ""
            text += f"```{{option}} {words}\n{said}\n```\n\n"
    return text


# -- tricks and recipes --------------------------------------------------------------------------


def cards() -> dict[str, str]:
    """A page for each trick's card."""
    tricks = discover()
    made = {f"tricks/{name}.md": card(cls) for name, cls in tricks.items()}
    ideas = {name: inspect.getdoc(cls).splitlines()[0] for name, cls in tricks.items()}
    rows = "".join(f"| [{name}]({name}.md) | {idea} |\n" for name, idea in ideas.items())
    index = f"# Tricks\n\nEach is a function from plan to plan.\n\n| trick | idea |\n|---|---|\n{rows}\n"
    return {**made, "tricks/index.md": index + contents(tricks, hidden=True)}


def card(cls: type[hotlap.Trick]) -> str:
    found = card_of(cls)
    links = {n: ", ".join(f"[{t}]({t}.md)" for t in found[n]) for n in ("after", "excludes")}
    used = ", ".join(f"[{r}](../recipes.md#{anchor(r)})" for r in found["used_in"])
    rows = {
        "source": found["source"],
        "expected": found["expected"],
        "failures": found["failures"],
        "touches": ", ".join(f"`{t}`" for t in found["touches"]),
        "comes after": links["after"] or "any",
        "excludes": links["excludes"] or "none",
        "used in": used or "no built-in recipe",
        "try it": f"`hotlap train RECIPE --with {found['name']}`",
    }
    table = "".join(f"| {name} | {said} |\n" for name, said in rows.items())
    diff = "\n".join(found["diff"])
    return (
        f"# {found['name']}\n\n```{{eval-rst}}\n.. autoclass:: {cls.__module__}.{cls.__name__}\n```\n\n"
        f"| | |\n|---|---|\n{table}\n## What it changes, in {found['diff_in']}\n\n```diff\n{diff}\n```\n"
    )


def recipes() -> str:
    """The page of all recipes: summary, tricks, and what each changes of the one it is a diff of."""
    text = "# Recipes\n\n`hotlap recipes show R` prints a recipe's whole plan.\n\n"
    for recipe in BUILTIN.values():
        tricks = ", ".join(f"[{t.name}](tricks/{t.name}.md)" for t in recipe.tricks)
        text += f"## {recipe.name}\n\n{recipe.summary}\n\nTricks: {tricks or 'none'}\n\n"
        if recipe.base:
            lines = "\n".join(hotlap.diff(BUILTIN[recipe.base], recipe)) or "no difference"
            text += f"From [{recipe.base}](#{anchor(recipe.base)}):\n\n```diff\n{lines}\n```\n\n"
    return text


def anchor(title: str) -> str:
    """The fragment of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
