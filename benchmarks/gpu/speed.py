"""fast94, fast95, fast96 and muon94 against a flat script of the Muon recipe at its best setting, in turn.

    PYTHONPATH=src python benchmarks/gpu/speed.py [--out DIR] [--budget 480]

On the built-in patterns, as many images as CIFAR-10 has. Compiling and tuning are on a clock of their own.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))  # flat_muon.py

from common import Session, arguments, made_ready, timed_run

RECIPES = ("muon94", "fast94", "fast95", "fast96")
STEPS = 10  # of the flat script, timed in each setting, after as many
PROFILE_S = 45.0  # kept back for the profile


class FlatRuns:
    """The flat script in one setting: whole runs of it.

    Args:
        images: train and test, each (N, 32, 32, 3) uint8 and (N,) int64 on the device.
        setting: precision, layout, whether torch.compile'd.
    """

    def __init__(
        self, session: Session, images: Any, spec: Any, setting: tuple[str, str, bool], epochs: float
    ):
        import torch

        from hotlap.machine.backend import DTYPES, FORMATS

        self.device, self.images, self.epochs, self.compiled = session.device, images, epochs, setting[2]
        self.how = DTYPES[setting[0]], FORMATS[setting[1]]
        with self.device:
            self.moments = torch.tensor(spec.mean), torch.tensor(spec.std)

    def made(self, seed: int, epochs: float | None = None) -> Any:
        import flat_muon

        with self.device:
            return flat_muon.Flat(*self.images[0], *self.moments, *self.how, seed, epochs or self.epochs)

    def steps(self, flat: Any, count: int) -> float:
        """Seconds of so many steps."""
        from hotlap.engine.clock import wait_for

        wait_for(self.device)
        start = time.perf_counter()
        with compiled(self.compiled), self.device:
            for _ in range(count):
                flat.step()
        wait_for(self.device)
        return time.perf_counter() - start

    def tried(self, steps: int) -> dict[str, float]:
        flat = self.made(0, 1e6)
        warm_up_s = self.steps(flat, steps)
        return {"warm_up_s": warm_up_s, "step_s": min(self.steps(flat, steps) for _ in range(2)) / steps}

    def run(self, seed: int) -> dict[str, float]:
        from hotlap.engine.clock import wait_for

        start = time.perf_counter()
        flat = self.made(seed)
        self.steps(flat, flat.total)
        trained = time.perf_counter()
        test, labels = self.images[1]
        with compiled(self.compiled), self.device:
            right = (flat.look(test).argmax(1) == labels).sum().item()
        wait_for(self.device)
        seconds = {"train_s": trained - start, "eval_s": time.perf_counter() - trained}
        return seconds | {"accuracy": 100 * right / len(labels), "seed": seed}


class compiled:
    """The flat script's net and its orthogonalisation through torch.compile, or as they are."""

    made: tuple[Any, Any] | None = None
    tiny = False

    def __init__(self, really: bool):
        self.really = really

    def __enter__(self) -> None:
        import torch

        import flat_muon

        self.held = flat_muon.Flat.logits, flat_muon.orthogonal
        if self.really:
            if compiled.made is None:
                torch._dynamo.config.recompile_limit = 64  # a program a shape, as a run has few
                how = {"backend": "eager"} if compiled.tiny else {"dynamic": False}
                compiled.made = torch.compile(self.held[0], **how), torch.compile(self.held[1], **how)
            flat_muon.Flat.logits, flat_muon.orthogonal = compiled.made

    def __exit__(self, *_: object) -> None:
        import flat_muon

        flat_muon.Flat.logits, flat_muon.orthogonal = self.held


def profiled(name: str, dataset: Any, session: Session, tiny: bool) -> dict[str, Any]:
    """Milliseconds of some steps by kind of operation and part of the net."""
    from common import small

    from hotlap.engine.lower import lower
    from hotlap.inspect.operations import profile_steps
    from hotlap.machine.resolve import resolve
    from hotlap.recipes import find

    plan = find(name).plan()
    plan = small(plan) if tiny else plan
    program = lower(plan, dataset, resolve(plan.numerics, session.device))
    program.upload()
    program.begin(0)
    found = profile_steps(program, 1, 3 if tiny else 11)
    about = {"step_ms": found.unwatched_ms, "watched_ms": found.step_ms, "launches": found.launches}
    return about | {"recipe": name, "images": found.images, "kinds": found.kinds, "parts": found.parts}


def main() -> int:
    args = arguments(__doc__).parse_args()
    session = Session("speed", args)
    import torch

    import flat_muon
    from hotlap import data

    if args.tiny:
        flat_muon.BATCH, flat_muon.WIDTHS, compiled.tiny = 50, (16, 16, 16), True
    recipes = RECIPES[:2] if args.tiny else RECIPES
    source, epochs, steps = ("patterns:200,50", 2.0, 2) if args.tiny else ("patterns:50000,10000", 8.0, STEPS)
    dataset = None

    def loaded() -> dict[str, int]:
        nonlocal dataset
        dataset = data.load(source)
        return {"train": len(dataset.train), "test": len(dataset.test)}

    session.step(f"data {source}", loaded)
    if dataset is None:
        return session.end()
    programs: dict[str, Any] = {}

    def ready(name: str) -> dict[str, Any]:
        programs[name], found = made_ready(name, dataset, session, args.tiny)
        return found

    for name in recipes:
        session.step(f"{name} compiled", lambda name=name: ready(name), 20)
    images = [
        (torch.tensor(split.images).to(session.device), torch.tensor(split.labels).to(session.device))
        for split in (dataset.train, dataset.test)
    ]
    halves = ("fp32",) if args.tiny else ("fp16", "bf16")
    layouts = ("channels_last",) if args.tiny else ("channels_last", "contiguous")
    tried: dict[tuple[str, str, bool], float] = {}

    def attempt(precision: str, layout: str, really: bool) -> None:
        flat = FlatRuns(session, images, dataset.spec, (precision, layout, really), epochs)
        words = f"flat script in {precision}, {layout}{', torch.compile' if really else ''}"
        found = session.step(words, lambda: flat.tried(steps), 3 * PROFILE_S)
        if found:
            tried[precision, layout, really] = found["step_s"]

    for layout in layouts:
        for precision in halves:
            attempt(precision, layout, False)
    if tried:  # compiling takes long: the fastest only, in both layouts
        precision = min(tried, key=lambda s: tried[s])[0]
        for layout in layouts:
            attempt(precision, layout, True)
    runs = {name: lambda seed, p=program: timed_run(p, seed) for name, program in programs.items()}
    if tried:
        best = min(tried, key=lambda s: tried[s])
        session.record["flat_setting"] = list(best)
        runs["flat"] = FlatRuns(session, images, dataset.spec, best, epochs).run
    times: dict[str, list[float]] = {name: [] for name in runs}
    took = dict.fromkeys(runs, 0.0)
    for turn in range(2 if args.tiny else 50):
        order = list(runs) if turn % 2 == 0 else list(runs)[::-1]
        if session.left_s < PROFILE_S + 1.2 * sum(took.values()):
            break
        for name in order:
            start = time.perf_counter()
            found = session.step(f"{name}, seed {turn}", lambda n=name, s=turn: runs[n](s), took[name])
            took[name] = time.perf_counter() - start
            if found:
                times[name].append(found["train_s"] + found["eval_s"])
    medians = {name: statistics.median(t) for name, t in times.items() if t}
    session.record["median_train_and_eval_s"] = medians
    own = {name: s for name, s in medians.items() if name != "flat"}
    if own:
        fastest = min(own, key=lambda name: own[name])
        session.step(f"profile of {fastest}", lambda: profiled(fastest, dataset, session, args.tiny), 5)
    print(", ".join(f"{name} {s:.3f} s" for name, s in medians.items()))
    return session.end()


if __name__ == "__main__":
    sys.exit(main())
