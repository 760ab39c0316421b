"""`hotlap data check`: what was found, in words."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hotlap import data
from hotlap.cli.composing import loading
from hotlap.cli.decoding import Decoding
from hotlap.cli.output import DONE, Output
from hotlap.data.listing import counted, listed

if TYPE_CHECKING:
    from hotlap.data import CheckReport
    from hotlap.data.checked import Group, Sizes

_LISTED = 5  # corrupt files, leaks, ... in the text; --json has all
_MEMBERS = 4  # of a group
_NAMED = 100  # classes
_CHECKSUMS = {True: "the official one", False: "not the official one", None: "none to compare"}


def check(args: argparse.Namespace, out: Output) -> int:
    """Check the source of the command line."""
    asked = {name: value for name, value in loading(args).items() if name != "strict"}
    with Decoding(out) as decoding:
        report = data.check(
            args.source,
            data_dir=args.data_dir,
            notify=out.note,
            sheets=args.sheets,
            progress=decoding.tell,
            **asked,
        )
    out.columns([row for row in _rows(report) if row[1]])
    out.result(report.as_json())
    return DONE


def _rows(report: CheckReport) -> Iterator[tuple[str, str]]:
    """What to say: a word and a line; more lines follow a word with none."""
    per_class = [f"{split} {_range(of)}" for split, of in report.counts.items()]
    yield "source", f"{report.origin} ({report.layout})"
    unread = [f"{name}: {reason}" for name, reason in report.corrupt]
    yield "images", _tally(report.images) + ("" if unread else ", all read")
    yield from _list("not read", counted(len(unread), "image") if unread else "", unread)
    yield "passed over", _tally(report.passed_over)
    yield "classes", f"{len(report.class_names):,}: {listed(report.class_names, _NAMED)}"
    yield "per class", f"{', '.join(per_class)}; largest to smallest {report.imbalance:.3g} : 1"
    for split, classes in report.absent.items():
        yield "", f"without a {split} image: {listed(classes)}" if classes else ""
    for remark in report.remarks:
        yield "", remark
    yield "sizes", _sizes(report.sizes)
    yield "stored as", f"{_tally(report.formats)}; {_tally(report.modes)}"
    yield "treated", _tally(report.treated)
    yield "mean, sd", f"{_rounded(report.mean)}, {_rounded(report.std)} (of 255)"
    yield from _duplicates(report)
    yield "checksum", _CHECKSUMS[report.official] if report.official is not None else ""
    yield "cache", f"{report.cache}: {report.cache_state}"
    if report.sheets:
        yield "sheets", f"{len(report.sheets):,} in {report.sheets[0].parent}"
    sound = "sound" if report.ok else "sound, but the cache will be made again on the next use"
    yield "verdict", "; ".join([sound, *report.findings])


def _duplicates(report: CheckReport) -> Iterator[tuple[str, str]]:
    exact = [g for g in report.duplicates if g.exact]
    near = [g for g in report.duplicates if not g.exact]
    yield from _list("identical", _groups(exact), [_named(g) for g in exact])
    if report.distance is None:
        yield (
            "nearly so",
            "not looked for: pip install 'hotlap[duplicates]' to find resized or recompressed copies",
        )
    else:
        yield from _list("nearly so", f"{_groups(near)}{_how(report)}", [_named(g) for g in near])
    yield from _list("leaks", _leaked(report), [_named(g) for g in report.leaks])
    mixed = [_named(g, classes=True) for g in report.conflicts]
    yield from _list(
        "conflicts", f"{_groups(report.conflicts)}{' of several classes' if mixed else ''}", mixed
    )


def _how(report: CheckReport) -> str:
    """How nearly identical images were told."""
    if report.distance is not None and report.distance < 0:
        return ", for too many images have one perceptual hash: these cannot be told apart by it"
    rule = f"perceptual hashes within {report.distance} of 64 bits"
    if report.correlation:
        rule += f", edges that correlate by {report.correlation:.2f} or more"
    plain = f"; {counted(report.plain, 'image')} of one colour left out" if report.plain else ""
    return f" ({rule}{plain})"


def _leaked(report: CheckReport) -> str:
    """How many images of each split are in train too, or are in two others."""
    into = [f"{n:,} of {counted(report.images[s], f'{s} image')}" for s, n in report.leaked.items() if n]
    if into:
        return f"{', '.join(into)} also in train"
    return f"{_groups(report.leaks)}, in other splits than train" if report.leaks else "none"


def _groups(groups: Sequence[Group]) -> str:
    if not groups:
        return "none"
    return f"{counted(len(groups), 'group')}, {counted(sum(len(g.images) for g in groups), 'image')}"


def _named(group: Group, classes: bool = False) -> str:
    """The images of a group: `=` between identical ones, `~` between the others."""
    text = ""
    for k, image in enumerate(group.images[:_MEMBERS]):
        if k:
            text += " = " if image.picture == group.images[k - 1].picture else " ~ "
        text += f"{image.name} ({image.class_name})" if classes else image.name
    more = len(group.images) - _MEMBERS
    return f"{text} and {more:,} more" if more > 0 else text


def _list(word: str, head: str, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """A word with its line, and below it the first few of `lines`."""
    most = lines[:_LISTED]
    if len(lines) > _LISTED:
        most = [*most, f"and {len(lines) - _LISTED:,} more, all of them in --json"]
    yield word, head
    for line in most:
        yield "", line


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _sizes(sizes: Sizes) -> str:
    (left, width, right), (top, height, bottom) = sizes.width, sizes.height
    if (left, top) == (right, bottom):
        return f"all {right}x{bottom}"
    ends = [f"{name} {across}x{down}" for name, across, down in (sizes.smallest, sizes.largest)]
    return (
        f"width {left:,} to {right:,}, median {width:g}; height {top:,} to {bottom:,}, median {height:g};"
        f" smallest {ends[0]}, largest {ends[1]}"
    )


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {what}" for what, n in counts.items())


def _rounded(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{v:.2f}" for v in values) + ")"
