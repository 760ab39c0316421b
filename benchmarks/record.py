"""Collect finished runs into a record: what was run, where, what each seed came to, and the statistics.

    python benchmarks/record.py [NAME RUN_FOLDER [RUN_FOLDER ...]] [--timed RUN_FOLDER ...]

Writes records/NAME/ (recipe.toml, runs.jsonl, summary.json) and records/README.md from all records: of runs,
of benchmarks (a folder of `hotlap bench`, copied there), and of other kinds by their one-line command.txt.
Without NAME, writes the index only. Runs named after --timed had the machine to themselves; only their
seconds are quoted. All runs must be of one recipe on one data set; a run that missed its target counts like
any other.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path

from hotlap.files import write_atomic
from hotlap.recipes import BUILTIN

RECORDS = Path(__file__).resolve().parent.parent / "records"


def collect(name: str, folders: list[Path], timed: list[Path]) -> None:
    runs = []
    for folder in folders:
        run = json.loads((folder / "summary.json").read_text())
        run["history"] = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        run["machine_to_itself"] = folder in timed
        runs.append(run)
    recipes = {(folder / "recipe.toml").read_text() for folder in folders}
    if len(recipes) > 1 or len({r["data"] for r in runs}) > 1:
        raise SystemExit("these runs are of more than one recipe or data set")
    out = RECORDS / name
    recipe = recipes.pop()
    write_atomic(out / "recipe.toml", recipe.encode())
    write_atomic(out / "runs.jsonl", "".join(json.dumps(r) + "\n" for r in runs).encode())
    write_atomic(out / "summary.json", (json.dumps(summarise(name, runs, recipe), indent=1) + "\n").encode())


def summarise(name: str, runs: list[dict], recipe: str) -> dict:
    name_of, data = runs[0]["recipe"], runs[0]["data"]
    accuracies = [r["accuracy"] for r in runs]
    quiet = [r["seconds"] for r in runs if r["machine_to_itself"]]
    target = runs[0]["target"]
    return {
        "name": name,
        "recipe": name_of,
        "data": data,
        "command": f"hotlap train {name_of} --data {data} --seed SEED{asked(name_of, recipe)}",
        "n": len(runs),
        "seeds": [r["seed"] for r in runs],
        "accuracies": accuracies,
        "mean": statistics.mean(accuracies),
        "sd": statistics.stdev(accuracies) if len(runs) > 1 else None,
        "standard_error": statistics.stdev(accuracies) / math.sqrt(len(runs)) if len(runs) > 1 else None,
        "target": target,
        "at_target": sum(a >= target for a in accuracies),
        "views": runs[0]["views"],
        "single_view": [r["single_view_accuracy"] for r in runs],
        "train_s": [s["train"] for s in quiet],
        "eval_s": [s["eval"] for s in quiet],
        "precision": runs[0]["precision"],
        "memory_format": runs[0]["memory_format"],
        "machine": runs[0]["machine"],
    }


def asked(name: str, text: str) -> str:
    """What was set on the command line: where the run's resolved text differs from the recipe's."""
    ours, theirs = (set(t.splitlines()) for t in (text, BUILTIN[name].text()))
    return "".join(f" --set {line.replace(' = ', '=')}" for line in sorted(ours - theirs))


def index() -> str:
    rows = []
    for path in sorted(RECORDS.glob("*/summary.json")):
        s = json.loads(path.read_text())
        if "recipe" not in s:
            continue
        sd = "" if s["sd"] is None else f" ± {s['sd']:.2f}"
        each = ", ".join(f"{a:.2f}" for a in s["accuracies"])

        def median(values: list[float]) -> str:
            return f"{statistics.median(values):.0f} (n={len(values)})" if values else "not timed"

        cells = (
            f"[{s['name']}]({s['name']}/)",
            f"`{s['command']}`",
            f"{s['mean']:.2f}{sd} ({each})",
            f"{s['at_target']} of {s['n']} at {s['target']:g}",
            median(s["train_s"]),
            median(s["eval_s"]),
            f"{s['precision']}, {s['memory_format'].replace('_', '-')}; {machine(s['machine'])}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    head = [
        "# Records",
        "",
        "Made by `python benchmarks/record.py`; do not edit. Accuracies are test accuracies in percent with",
        "the recipe's own views, every run counted. Seconds are medians over the runs that had the machine",
        "to themselves: `train` from uint8 data in memory to the final weights, `eval` the final evaluation.",
        "",
        "| record | command | mean ± sd (each run) | target | train s | eval s | machine |",
        "|---|---|---|---|---|---|---|",
    ]
    others = [
        f"| [{path.parent.name}]({path.parent.name}/) | {path.read_text().strip()} |"
        for path in sorted(RECORDS.glob("*/command.txt"))
    ]
    tail = ["", "Measurements of other kinds:", "", "| record | made by |", "|---|---|", *others]
    return "\n".join([*head, *rows, *benches(), *(tail if others else [])]) + "\n"


def machine(facts: dict) -> str:
    features = ", ".join(f for f in facts["cpu_features"] if f in ("avx512_bf16", "amx_bf16"))
    return f"{facts['cores']} cores {facts['cpu']} ({features}), torch {facts['torch']}"


def benches() -> list[str]:
    """The lines about folders of `hotlap bench`: a row for each contender, and what the ratios say."""
    rows, said = [], []
    for path in sorted(RECORDS.glob("*/bench.json")):
        if not (path.parent / "summary.json").exists():
            continue
        held, summary = (json.loads((path.parent / n).read_text()) for n in ("bench.json", "summary.json"))
        name = path.parent.name
        rows += [bench_row(name, s, held["facts"]) for s in summary["standings"]]
        said.append(": ".join((f"- [{name}]({name}/), `{held['command']}`", compared(summary["against"]))))
    if not rows:
        return []
    head = [
        "",
        "Contenders in turn (ABBA), in one sitting. Seconds are medians over every run; FLOP/s are of",
        "training, with their share of the fastest convolution's on that machine.",
        "",
        "| record | contender | mean ± sd | target | train s | eval s | FLOP/s | machine |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return [*head, *rows, "", *said]


def bench_row(name: str, s: dict, facts: dict) -> str:
    from hotlap.measure.bench_page import units
    from hotlap.report.page import digits

    accuracy, target = s["accuracy"], s["at_target"]
    sd = "" if accuracy["sd"] is None else f" ± {accuracy['sd']:.2f}"
    share = "" if s["peak_share"] is None else f" ({100 * s['peak_share']:.0f}%)"
    cells = (
        f"[{name}]({name}/)",
        s["name"],
        f"{accuracy['mean']:.2f}{sd}",
        f"{target['k']} of {target['n']} at {s['target']:g}" if target else "",
        digits(s["train"]["median"]) + (" (wall)" if "wall" in s["clock"] else ""),
        "" if s["eval"] is None else digits(s["eval"]["median"]),
        "" if s["flop_per_s"] is None else units(s["flop_per_s"]).strip() + share,
        "; ".join(part for part in (s["arithmetic"], machine(facts)) if part),
    )
    return f"| {' | '.join(cells)} |"


def compared(against: list[dict]) -> str:
    """The ratios of contenders in a sentence each."""
    from hotlap.measure.bench_page import comparison
    from hotlap.measure.standings import Against
    from hotlap.measure.stats import Ratio

    said = (
        comparison(Against(a["first"], a["other"], Ratio(**a["counted"]), Ratio(**a["train"])))
        for a in against
    )
    return "; ".join(said) or "one contender"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?")
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--timed", nargs="*", type=Path, default=[])
    args = parser.parse_args()
    if args.folders:
        collect(args.name, args.folders, args.timed)
    write_atomic(RECORDS / "README.md", index().encode())
    print((RECORDS / "README.md").read_text())


if __name__ == "__main__":
    main()
