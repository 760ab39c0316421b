"""`hotlap tricks`: list, show."""

from __future__ import annotations

import argparse
import dataclasses
import inspect

from hotlap.cli.main import DONE, common
from hotlap.cli.output import Output
from hotlap.errors import UserError, did_you_mean


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    common(actions.add_parser("list", help="every trick"))
    show = actions.add_parser("show", help="a trick's card")
    show.add_argument("trick")
    common(show)


def run(args: argparse.Namespace) -> int:
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
    cls = tricks[args.trick]
    used = [r.name for r in BUILTIN.values() if args.trick in {t.name for t in r.tricks}]
    out.say(args.trick)
    out.say()
    out.say(inspect.getdoc(cls) or "")
    out.say()
    rows = [("source", cls.source), ("expected", cls.effect), ("touches", ", ".join(cls.touches))]
    rows += [("settings", ", ".join(f"{f.name} = {f.default}" for f in dataclasses.fields(cls)) or "none")]
    rows += [("comes after", ", ".join(cls.after))] if cls.after else []
    rows += [("excludes", ", ".join(cls.excludes))] if cls.excludes else []
    rows += [("used in", ", ".join(used) or "no built-in recipe")]
    rows += [("try it", f"hotlap train RECIPE --with {args.trick}, or --without {args.trick}")]
    out.columns(rows)
    out.result({"name": args.trick, "card": inspect.getdoc(cls), "used_in": used, **dict(rows[:3])})
    return DONE
