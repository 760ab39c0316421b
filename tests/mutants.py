"""Which changes of the code no test sees: mutmut on a room, all of its mutants or a sample.

    python tests/mutants.py plan
    python tests/mutants.py data --sample 400
    python tests/mutants.py measure --only 'hotlap.measure.stats.*'

What is changed, and which tests are run, stands in pyproject.toml under `tool.mutmut`; each mutant runs the
tests that reach its function until one fails. Two things are other than mutmut has them: a text is changed
once, not also into small letters and into capitals; and what is raised stays as it is, for the words of an
error are held by tests that quote a part of them.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import random
from collections import Counter
from typing import Any

import libcst as cst
import mutmut.__main__ as tool
from mutmut.mutation import file_mutation, mutators
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils import file_utils

SEED = 19
ROOMS = ("plan", "optim", "measure", "data")
CAUGHT = ("killed", "timeout", "segfault")


def change_what_is_changed() -> None:
    """No errors, and texts once."""
    skips, text = file_mutation.MutationVisitor._skip_node_and_children, mutators.operator_string

    def skip(self: file_mutation.MutationVisitor, node: cst.CSTNode) -> bool:
        return isinstance(node, cst.Raise) or skips(self, node)

    def once(node: cst.BaseString) -> list[cst.BaseString]:
        return list(text(node))[:1]

    file_mutation.MutationVisitor._skip_node_and_children = skip
    operators = [(kind, once if how is text else how) for kind, how in mutators.mutation_operators]
    file_mutation.mutation_operators = operators


def take_names_as_they_are() -> None:
    """mutmut takes each name for a pattern and tries every mutant with it, which takes minutes."""
    collect = tool.collect_source_file_mutation_data

    def collected(*, mutant_names: tuple[str, ...]) -> tuple[list[Any], dict[str, Any]]:
        mutants, by_path = collect(mutant_names=())
        wanted = set(mutant_names)
        return [one for one in mutants if one[1] in wanted], by_path

    tool.collect_source_file_mutation_data = collected


def make() -> None:
    """Write the mutants of every file, where they are not yet."""
    tool.set_mutant_under_test("mutant_generation")
    os.makedirs("mutants", exist_ok=True)
    with tool.CatchOutput():
        file_utils.copy_src_dir()
        file_utils.copy_also_copy_files()
        file_utils.setup_source_paths()
        tool.create_mutants(os.cpu_count() or 1)


def read() -> dict[str, str]:
    """Every mutant by name, and what became of it."""
    found = {}
    for path in sorted(file_utils.walk_mutatable_files()):
        of = SourceFileMutationData(path=path)
        of.load()
        found.update({name: status_by_exit_code[code] for name, code in of.exit_code_by_key.items()})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("room", choices=ROOMS)
    parser.add_argument(
        "--sample", type=int, metavar="N", help="as many of its mutants, drawn with a fixed seed"
    )
    parser.add_argument("--only", default="*", metavar="PATTERN", help="those whose names are such")
    parser.add_argument("--again", action="store_true", help="those that no test saw the last time")
    parser.add_argument("--children", type=int, help="processes (default: one a core)")
    args = parser.parse_args()
    change_what_is_changed()
    take_names_as_they_are()
    make()
    before = read()
    there = [n for n in before if n.startswith(f"hotlap.{args.room}.") and fnmatch.fnmatch(n, args.only)]
    chosen = there if not args.sample else random.Random(SEED).sample(there, min(args.sample, len(there)))
    if args.again:
        chosen = [n for n in chosen if before[n] in ("survived", "no tests")]
    if chosen:
        tool._run(tuple(chosen), args.children)
    after = read()
    for name in sorted(n for n in chosen if after[n] not in CAUGHT):
        print(f"# {name}: {after[name]}\n{get_diff_for_mutant(name)}\n")
    count = Counter(after[n] for n in chosen)
    said = [f"{len(there):,} mutants", f"{len(chosen):,} tried", f"{sum(count[s] for s in CAUGHT):,} caught"]
    print(f"{args.room}: " + ", ".join(said + [f"{n:,} {s}" for s, n in count.items() if s not in CAUGHT]))


if __name__ == "__main__":
    main()
