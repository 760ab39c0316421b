"""Images of one's own, as a new user has them: wall seconds and accuracy of `hotlap train --data`.

    python benchmarks/own_images.py --photos hymenoptera_data     # ants and bees; train/ and val/
    python benchmarks/own_images.py --fashion fashion-mnist       # the four IDX files
    python benchmarks/own_images.py --digits                      # scikit-learn's digits, as arrays
    python benchmarks/own_images.py --many 200000                 # so many of 64x64: what memory they take
    python benchmarks/own_images.py --once clothes                # any images, as they come
    python benchmarks/own_images.py --minutes 2 6 --photos DIR    # timed: CIFAR-10, and photographs
    python benchmarks/own_images.py --tree                        # CIFAR-10 as PNG files against its binary

Photographs are trained on with twenty of them left out, then with all (only twenty are new), then from
scratch. Wall seconds are of the whole process, with a cache that was empty. The machine is measured before
the first run, and that is timed apart.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LEFT_OUT = 10  # photographs of each class


def hotlap(cache: Path, *words: object) -> tuple[float, float, dict]:
    """Wall seconds, peak memory in MB, and the summary that a command prints as JSON.

    Memory is what the process has for itself (RssAnon): pages of a mapped file are the system's to take back.
    """
    environment = {**os.environ, "HOTLAP_CACHE": str(cache)}
    code = "import sys; from hotlap.cli.main import main; sys.exit(main())"
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)], env=environment, stdout=out
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, anonymous_kb(process.pid))
            time.sleep(0.05)
        wall = time.perf_counter() - start
        if process.returncode:
            sys.exit(process.returncode)
        out.seek(0)
        return wall, peak / 1024, json.load(out)


def anonymous_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def show(what: str, wall: float, peak: float, found: dict) -> None:
    extra = f", {found['features_computed']} features computed" if "features_computed" in found else ""
    accuracy = f"{found['accuracy']:.2f}% of {found['test_split']}"
    print(
        f"{what:<42} {accuracy}  {wall:6.1f} s of wall time, train {found['seconds']['train']:.1f} s{extra},"
        f" peak {peak:,.0f} MB",
        flush=True,
    )


def photographs(folder: Path, cache: Path, at: Path) -> None:
    copy = at / "photos"
    shutil.copytree(folder, copy)
    kept = at / "kept"
    for group in sorted(p for p in (copy / "train").iterdir() if p.is_dir()):
        (kept / group.name).mkdir(parents=True)
        for file in sorted(group.iterdir())[:LEFT_OUT]:
            shutil.move(file, kept / group.name / file.name)
    train = ("train", "--data", copy, "--json", "--out")
    show("photographs, some left out", *hotlap(cache, *train, at / "few"))
    shutil.copytree(kept, copy / "train", dirs_exist_ok=True)
    show("all of them", *hotlap(cache, *train, at / "all"))
    show("all of them again", *hotlap(cache, *train, at / "again"))
    show("from scratch", *hotlap(cache, "train", "fitted", *train[1:], at / "scratch"))


def to_the_minute(minutes: list[float], photos: Path | None, cache: Path, at: Path) -> None:
    """Runs that are to take so long: CIFAR-10 by fast94-uniform, photographs by what suits them."""
    for m in minutes:
        sets = [("cifar10", ("fast94-uniform", "--data", "cifar10"))]
        if photos:
            sets.append((photos.name, ("--data", photos)))
        for name, words in sets:
            out = at / f"{name}-{m:g}"
            done = hotlap(cache, "train", *words, "--minutes", f"{m:g}", "--json", "--out", out)
            show(f"{name}, --minutes {m:g}", *done)
            print(f"    {done[0] / (60 * m):.3f} of the time, {done[2]['steps']} steps", flush=True)


def tree(seeds: list[int], cache: Path, at: Path) -> None:
    """CIFAR-10 written as a class-per-folder tree of PNG files, and both trained on."""
    import numpy as np
    from PIL import Image

    from hotlap import load_data

    whole = load_data("cifar10")
    folder = at / "tree"
    for name, split in (("train", whole.train), ("test", whole.test)):
        for i, (pixels, label) in enumerate(zip(split.images, split.labels, strict=True)):
            group = folder / name / whole.spec.class_names[label]
            group.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(pixels)).save(group / f"{i}.png", compress_level=1)
    start = time.perf_counter()
    hotlap(cache, "data", "get", folder, "--json")
    print(f"decoded and packed: {60_000 / (time.perf_counter() - start):,.0f} images/s", flush=True)
    again = load_data(folder)
    for name in ("train", "test"):
        a, b = (contents(getattr(d, name)) for d in (whole, again))
        print(f"{name}: {'the same images with the same labels' if a == b else 'NOT the same'}", flush=True)
    for seed in seeds:
        for data in (folder, "cifar10"):
            words = ("train", "fast94-uniform", "--data", data, "--seed", seed, "--json")
            show(
                f"fast94-uniform on {Path(data).name}, seed {seed}",
                *hotlap(cache, *words, "--out", at / f"{Path(data).name}{seed}"),
            )


def contents(split) -> list[tuple[bytes, int]]:  # type: ignore[no-untyped-def]
    return sorted(
        (image.tobytes(), int(label)) for image, label in zip(split.images, split.labels, strict=True)
    )


def digits(cache: Path, at: Path) -> None:
    import numpy as np
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    test, train = order[:360], order[360:]
    images = (found.images / 16).astype(np.float32)
    path = at / "digits.npz"
    np.savez(
        path,
        x_train=images[train],
        y_train=found.target[train],
        x_test=images[test],
        y_test=found.target[test],
    )
    show("digits", *hotlap(cache, "train", "--data", path, "--json", "--out", at / "digits"))


def many(count: int, cache: Path, at: Path) -> None:
    import numpy as np

    folder = at / "many"
    folder.mkdir()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, count)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, 64, 64, 3))
    for start in range(0, count, 1000):
        of = labels[start : start + 1000]
        noise = rng.integers(0, 100, (len(of), 64, 64, 3), dtype=np.uint8)
        images[start : start + 1000] = noise + (15 * of)[:, None, None, None].astype(np.uint8)
    images.flush()
    np.save(folder / "labels.npy", labels)
    short = ("--epochs", "0.15", "--set", "net.widths=[8,16,16,16]", "--eval-every", "0")
    words = ("train", "--data", folder, *short, "--json", "--out", at / "run")
    show(f"{count:,} images of 64x64", *hotlap(cache, *words))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--fashion", type=Path)
    parser.add_argument("--digits", action="store_true")
    parser.add_argument("--many", type=int)
    parser.add_argument("--once", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+")
    parser.add_argument("--tree", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of --tree")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        cache = at / "cache"
        wall, _, facts = hotlap(cache, "doctor", "--json")
        print(
            f"{facts['machine']['cpu']}, {facts['machine']['threads']} threads: measured in {wall:.1f} s",
            flush=True,
        )
        if args.minutes:
            to_the_minute(args.minutes, args.photos, cache, at)
        elif args.photos:
            photographs(args.photos, cache, at)
        if args.fashion:
            words = ("train", "--data", args.fashion, "--json", "--out", at / "fashion")
            show("Fashion-MNIST", *hotlap(cache, *words))
        if args.digits:
            digits(cache, at)
        if args.many:
            many(args.many, cache, at)
        if args.once:
            show(args.once.name, *hotlap(cache, "train", "--data", args.once, "--json", "--out", at / "once"))
        if args.tree:
            tree(args.seeds, cache, at)


if __name__ == "__main__":
    main()
