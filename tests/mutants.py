"""Which changes of the code no test sees: mutmut on a room, all of its mutants or a sample.

    python tests/mutants.py plan
    python tests/mutants.py data --sample 400
    python tests/mutants.py measure --only 'hotlap.measure.stats.*'

What is changed, and which tests are run, stands in pyproject.toml under `tool.mutmut`; each mutant runs the
tests that reach its function until one fails. Three things are other than mutmut has them: methods of
dataclasses are changed too; a text is changed once, not also into small letters and into capitals; and what
is raised stays as it is, for the words of an error are held by tests that quote a part of them.
"""

from __future__ import annotations

import argparse
import os
import random
from collections import Counter
from pathlib import Path

import libcst as cst
import mutmut.__main__ as tool
from mutmut.configuration import Config
from mutmut.mutation import file_mutation, mutators
from mutmut.mutation.data import SourceFileMutationData

SEED = 19
ROOMS = ("plan", "optim", "measure", "data")
CAUGHT = ("killed", "timeout", "segfault")
FOLDER = Path("mutants")


def change_what_is_changed() -> None:
    """Dataclasses, but no errors, and texts once."""
    skips, text = file_mutation.MutationVisitor._skip_node_and_children, mutators.operator_string

    def skip(self: file_mutation.MutationVisitor, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Raise):
            return True
        if isinstance(node, cst.ClassDef) and all("dataclass" in code(d) for d in node.decorators):
            return False
        return bool(skips(self, node))

    def once(node: cst.BaseString) -> list[cst.BaseString]:
        return list(text(node))[:1]

    collect = tool.collect_source_file_mutation_data

    def collected(*, mutant_names: tuple[str, ...]) -> tuple[list, dict]:
        """As mutmut does, but not every mutant against every name as a pattern, which takes minutes."""
        mutants, by_path = collect(mutant_names=())
        wanted = set(mutant_names)
        return [one for one in mutants if one[1] in wanted], by_path

    tool.collect_source_file_mutation_data = collected
    file_mutation.MutationVisitor._skip_node_and_children = skip
    operators = [(kind, once if how is text else how) for kind, how in mutators.mutation_operators]
    file_mutation.mutation_operators = operators


def code(node: cst.CSTNode) -> str:
    return cst.Module([]).code_for_node(node)


def made() -> dict[str, SourceFileMutationData]:
    """The mutants of every file, made where they are not yet."""
    os.environ["MUTANT_UNDER_TEST"] = "mutant_generation"
    FOLDER.mkdir(exist_ok=True)
    with tool.CatchOutput():
        tool.copy_src_dir()
        tool.copy_also_copy_files()
        tool.setup_source_paths()
        tool.create_mutants(os.cpu_count() or 1)
    return read()


def read() -> dict[str, SourceFileMutationData]:
    found = {}
    for path in tool.walk_mutatable_files():
        found[str(path)] = of = SourceFileMutationData(path=path)
        of.load()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("room", choices=ROOMS)
    parser.add_argument("--sample", type=int, metavar="N", help="as many of its mutants, drawn with a fixed seed")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="of those whose names are such")
    parser.add_argument("--children", type=int, help="processes (default: one a core)")
    args = parser.parse_args()
    Config.ensure_loaded()
    change_what_is_changed()
    there = [
        name
        for path, of in sorted(made().items())
        if path.startswith(f"src/hotlap/{args.room}/")
        for name in of.exit_code_by_key
        if tool.fnmatch.fnmatch(name, args.only)
    ]
    chosen = there if not args.sample else random.Random(SEED).sample(there, min(args.sample, len(there)))
    tool._run(tuple(chosen), args.children)
    status = {
        name: tool.status_by_exit_code[of.exit_code_by_key[name]]
        for of in read().values()
        for name in of.exit_code_by_key
        if name in set(chosen)
    }
    for name in sorted(n for n, s in status.items() if s not in CAUGHT):
        print(tool.get_diff_for_mutant(name), end="\n\n")
    count = Counter(status.values())
    caught = sum(count[s] for s in CAUGHT)
    print(f"{args.room}: {len(there):,} mutants, {len(chosen):,} tried, {caught:,} caught", end="")
    print("".join(f", {n:,} {s}" for s, n in sorted(count.items()) if s not in CAUGHT))


if __name__ == "__main__":
    main()
