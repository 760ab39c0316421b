"""`hotlap data`: list, get, check, clean."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotlap.cli.arguments import common, examples
from hotlap.cli.composing import loading, reading
from hotlap.cli.output import DONE, Output

if TYPE_CHECKING:
    from hotlap.data.cleaning import Removed


EXAMPLES = (
    ("hotlap data list", "sets that have a name, and where they are"),
    ("hotlap data get cifar10", "download it, check it, and make it ready"),
    ("hotlap data check photos/ --sheets sheets/", "what is in it; a picture of each class"),
    ("hotlap data clean --dry-run", "what in the cache has no source any more"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="data sets, and whether they are on this machine")
    get = actions.add_parser(
        "get", help="find or download a data set, verify it and pack it for the next start"
    )
    check = actions.add_parser(
        "check",
        help="read all of a data set where it lies: what it holds, what does not read, duplicates, leaks from"
        " train to test, and its cache",
    )
    check.add_argument(
        "--sheets",
        type=Path,
        metavar="DIR",
        help="write a contact sheet of each class, a PNG with up to 48 of its images, into this folder",
    )
    clean = actions.add_parser("clean", help="remove from the cache what has no source any more")
    clean.add_argument("--dry-run", action="store_true", help="say what would go, and leave it")
    common(clean)
    for action in (get, check):
        action.add_argument("source", help="cifar10, cifar100, patterns, patterns:TRAIN,TEST, or a path")
        reading(action)
    for action in (listing, get, check):
        action.add_argument("--data-dir", type=Path, metavar="DIR", help="where to look")
        common(action)


def run(args: argparse.Namespace) -> int:
    from hotlap import data

    out = Output(args.json)
    if args.action == "clean":
        removed = data.clean(dry_run=args.dry_run)
        for r in removed:
            out.say(f"{r.path.name}: {r.reason}, {r.size / 1e6:,.1f} MB")
        freed = sum(r.size for r in removed)
        would = "would free" if args.dry_run else "freed"
        out.say(f"{would} {freed / 1e6:,.1f} MB" if removed else "nothing to remove")
        out.result({"freed_bytes": freed, "dry_run": args.dry_run, "removed": [as_json(r) for r in removed]})
        return DONE
    if args.action == "list":
        infos = data.available(data_dir=args.data_dir)
        out.columns([(i.name, f"{i.description}; {'' if i.found else 'not here: '}{i.where}") for i in infos])
        out.result({"sources": [asdict(i) for i in infos]})
        return DONE
    if args.action == "get":
        from hotlap.cli.decoding import Decoding

        with Decoding(out) as decoding:
            packed = data.get(
                args.source,
                data_dir=args.data_dir,
                notify=out.note,
                progress=decoding.tell,
                **loading(args),
            )
        out.say(f"{args.source} is ready: packed in {packed}")
        out.result({"source": args.source, "packed": str(packed)})
        return DONE
    from hotlap.cli.checking import check

    return check(args, out)


def as_json(removed: Removed) -> dict[str, Any]:
    return {**asdict(removed), "path": str(removed.path)}
