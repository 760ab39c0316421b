"""What another run's weights are worth: a tenth of CIFAR-10, from a CIFAR-100 run and from scratch.

    python benchmarks/transfer.py CIFAR100 --out records/transfer-cpu

CIFAR100 is what `--data` takes: a folder with a class a folder, or `cifar100`. One run of `fast94-uniform` on
it is started from. Each seed draws 500 images a class of CIFAR-10's training images and trains on them twice,
in turn, for the same steps; accuracy is of all 10,000 test images. The interval is Student's, of the
differences.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

import hotlap
from hotlap.machine.facts import machine_facts
from hotlap.measure.stats import mean_of

PER_CLASS, EPOCHS, BATCH = 500, 20.0, 128


def few(seed: int, path: Path) -> Path:
    """500 images a class of CIFAR-10, and its test images, as arrays in a file."""
    whole = hotlap.load_data("cifar10")
    labels = np.asarray(whole.train.labels)
    rng = np.random.default_rng(seed)
    chosen = np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:PER_CLASS] for c in range(10)])
    np.savez(
        path,
        x_train=np.asarray(whole.train.images)[np.sort(chosen)],
        y_train=labels[np.sort(chosen)],
        x_test=np.asarray(whole.test.images),
        y_test=np.asarray(whole.test.labels),
    )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cifar100")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        base = hotlap.train("fast94-uniform", data=args.cifar100, seed=100, out=at / "base", target=0.0)
        print(f"CIFAR-100: {base.accuracy:.2f}%, {base.clocks['train']:.0f} s of training", flush=True)
        rows = []
        for seed in args.seeds:
            data = few(seed, at / f"few{seed}.npz")
            row: dict[str, float] = {"seed": seed}
            for name, start in (("from", base.folder), ("scratch", None)):
                made = hotlap.train(
                    "fast94-uniform",
                    data=data,
                    seed=seed,
                    out=at / f"{name}{seed}",
                    start_from=start,
                    epochs=EPOCHS,
                    batch_size=BATCH,
                    target=0.0,
                )
                row |= {name: made.accuracy, f"{name}_s": made.clocks["train"]}
            rows.append(row)
            print(
                f"seed {seed}: {row['from']:.2f}% from it, {row['scratch']:.2f}% from scratch"
                f" ({row['from_s']:.0f} and {row['scratch_s']:.0f} s)",
                flush=True,
            )
    gains = [row["from"] - row["scratch"] for row in rows]
    gain = mean_of(gains)
    low, high = gain.interval or (gain.mean, gain.mean)
    print(f"gain: {gain.mean:.2f} points, 95% interval {low:.2f} to {high:.2f}, {len(gains)} seeds")
    summary = {
        "base_accuracy": base.accuracy,
        "base_train_s": base.clocks["train"],
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "images_per_class": PER_CLASS,
        "rows": rows,
        "gain": gain.mean,
        "interval": [low, high],
        "machine": machine_facts(),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
