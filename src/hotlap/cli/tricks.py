"""`hotlap tricks`: list, show."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from typing import Any

from hotlap.cli.arguments import common
from hotlap.cli.output import DONE, Output
from hotlap.errors import UserError, did_you_mean


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    common(actions.add_parser("list", help="every trick"))
    show = actions.add_parser("show", help="a trick's card")
    show.add_argument("trick")
    common(show)


def run(args: argparse.Namespace) -> int:
    from hotlap.plan.flat import toml_value
    from hotlap.recipes import BUILTIN
    from hotlap.tricks import discover

    out, tricks = Output(args.json), discover()
    if args.action == "list":
        firsts = {name: inspect.getdoc(cls).splitlines()[0] for name, cls in tricks.items()}  # type: ignore[union-attr]
        out.columns(firsts.items())
        out.result({"tricks": [{"name": n, "idea": idea} for n, idea in firsts.items()]})
        return DONE
    if args.trick not in tricks:
        raise UserError(
            f"no trick called {args.trick!r}{did_you_mean(args.trick, tricks)}; see `hotlap tricks list`"
        )
    cls, card = tricks[args.trick], inspect.getdoc(tricks[args.trick]) or ""
    defaults: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(cls)}
    used = [r.name for r in BUILTIN.values() if args.trick in {t.name for t in r.tricks}]
    out.say(args.trick)
    out.say()
    out.say(card)
    out.say()
    settings = ", ".join(f"{k} = {toml_value(v)}" for k, v in defaults.items())
    rows = [
        ("source", cls.source),
        ("expected", cls.effect),
        ("failures", cls.failures),
        ("touches", ", ".join(cls.touches)),
        ("settings", settings or "none"),
        ("comes after", ", ".join(cls.after) or "any"),
        ("excludes", ", ".join(cls.excludes) or "none"),
        ("used in", ", ".join(used) or "no built-in recipe"),
        ("try it", f"hotlap train RECIPE --with {args.trick}, or --without {args.trick}"),
    ]
    out.columns(rows)
    out.result(
        {
            "name": args.trick,
            "card": card,
            "source": cls.source,
            "expected": cls.effect,
            "failures": cls.failures,
            "touches": cls.touches,
            "settings": defaults,
            "after": cls.after,
            "excludes": cls.excludes,
            "used_in": used,
        }
    )
    return DONE
