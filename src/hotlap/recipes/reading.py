"""Recipes and tricks by name, and from TOML."""

from __future__ import annotations

import dataclasses
import os
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotlap.errors import UserError, did_you_mean
from hotlap.plan import Plan, Trick
from hotlap.plan.flat import Value, convert, flatten, from_nested, unflatten
from hotlap.plan.recipe import Recipe, Set
from hotlap.tricks import discover

# what came after recipes were saved, as those have it
LATER: dict[str, Value] = {
    "start.kind": "scratch",
    "head.kind": "learnthead",
    "loss.balance": "none",
    "net.norm.statistics": "batch",
}


def make_trick(name: str, arguments: Mapping[str, Any], where: str) -> Trick:
    """The trick called `name` with its settings.

    Raises:
        UserError: an unknown trick, setting or value.
    """
    tricks = discover()
    if name not in tricks:
        raise UserError(
            f"{where}: no trick called {name!r}{did_you_mean(name, tricks)}; see `hotlap tricks list`"
        )
    cls = tricks[name]
    fields = {f.name for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    for key in arguments:
        if key not in fields:
            has = f"it has {', '.join(sorted(fields))}" if fields else "it has none"
            raise UserError(
                f"{where}: trick {name!r} has no setting {key!r}{did_you_mean(key, fields)}; {has}"
            )
    values = {k: convert(hints[k], v, f"{where}: {name}.{k}") for k, v in arguments.items()}
    return cls(**values)


def load(path: Path, builtin: Mapping[str, Recipe]) -> Recipe:
    """A recipe from a TOML file: `base = "..."` and changes, or a whole resolved plan.

    Raises:
        UserError: the file is missing, is not TOML, or has an unknown key or a wrong value.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such recipe file; `hotlap recipes copy demo {path}` starts one"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not TOML: {error}; mend that line") from None
    return from_table({"name": path.stem, **table}, builtin, str(path))


def from_table(table: Mapping[str, Any], builtin: Mapping[str, Recipe], where: str) -> Recipe:
    """The recipe that a TOML table describes: `base` and changes, or a whole resolved plan.

    Raises:
        UserError: an unknown key or a wrong value, with `where` it stands.
    """
    if "base" not in table:
        if "net" not in table:  # not a resolved plan either
            raise UserError(f"{where}: the key 'base' is missing; start with base = \"demo\"")
        return read_resolved(table, where)
    keys = ("base", "name", "summary", "data", "with", "without", "set")
    for key in table:
        if key not in keys:
            plan_keys = {k.partition(".")[0] for k in flatten(Plan())}
            inside = f"; put it under [set]: set.{key}" if key in plan_keys else ""
            near = did_you_mean(key, (*keys, *(f"set.{k}" for k in plan_keys)))
            raise UserError(f"{where}: unknown key {key!r}{inside or near}")
    for key in ("base", "name", "summary", "data"):
        convert(str, table.get(key, ""), f"{where}: {key}")
    if not isinstance(table.get("set", {}), dict):
        raise UserError(f"{where}: 'set' must be a table of keys and values: [set]")
    base = find_builtin(str(table["base"]), builtin, where)
    added = table.get("with", {})
    if not isinstance(added, dict) or not all(isinstance(v, dict) for v in added.values()):
        raise UserError(f"{where}: 'with' must be tables, one a trick: [with.label-smoothing]")
    tricks = [make_trick(name, settings, where) for name, settings in added.items()]
    sets = [Set(k, v) for k, v in from_nested(table.get("set", {})).items()]
    without = convert(tuple[str, ...], table.get("without", []), f"{where}: without")
    name, summary = table["name"], table.get("summary", "")
    try:
        made = base.then(name, *tricks, *sets, without=without, summary=summary, data=table.get("data"))
        made.plan()  # unknown keys and wrong values are refused here, with the file's name
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return made


def read_resolved(table: Mapping[str, Any], where: str) -> Recipe:
    """The recipe that a resolved text, read as TOML, describes.

    Raises:
        UserError: a missing or unknown key, or a wrong value.
    """
    flat = {**LATER, **from_nested(table)}
    name, data = flat.pop("name", ""), flat.pop("data", "cifar10")
    return Recipe(str(name), "", unflatten(Plan, flat, where), data=str(data))


def find_builtin(name: str, builtin: Mapping[str, Recipe], where: str) -> Recipe:
    """The built-in recipe called `name`, or a UserError with the nearest one."""
    if name not in builtin:
        mend = f"for images there, --data {name}" if os.path.exists(name) else "see `hotlap recipes list`"
        raise UserError(f"{where}: no recipe called {name!r}{did_you_mean(name, builtin)}; {mend}")
    return builtin[name]
