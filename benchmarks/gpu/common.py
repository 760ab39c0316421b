"""What the three scripts share: steps that are timed, said, written down and may fail; recipes made ready."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

MINUTES = 8
QUERY = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,temperature.gpu"


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder of the JSON")
    parser.add_argument("--budget", type=float, default=60.0 * MINUTES, help="seconds for all of it")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu with --tiny")
    parser.add_argument("--tiny", action="store_true", help="as small as it gets, to see that it works")
    return parser


def clocks() -> dict[str, str]:
    """What nvidia-smi reads now; nothing where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    words = [tool, f"--query-gpu={QUERY}", "--format=csv,noheader"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    read = done.stdout.splitlines()[0].split(", ") if done.stdout else []
    return dict(zip(QUERY.split(","), read, strict=False))


class Session:
    """Steps one after another. Each is a line on stdout and an entry of the JSON, written anew after each.

    Args:
        name: of the script, and of its JSON under `args.out`.
        args: from `arguments`.
    """

    def __init__(self, name: str, args: argparse.Namespace):
        self.until, self.path = time.monotonic() + args.budget, args.out / f"{name}.json"
        args.out.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("HOTLAP_CACHE", str((args.out / "cache").absolute()))
        import torch

        import hotlap  # before torch
        from hotlap.machine.facts import machine_facts

        self.device = torch.device(args.device)
        shown = {k: str(v) for k, v in vars(args).items()}
        self.record: dict[str, Any] = {"script": name, "hotlap": hotlap.__version__, "arguments": shown}
        self.record |= {"machine": machine_facts(), "clocks_at_start": clocks(), "steps": []}
        self.write()

    @property
    def left_s(self) -> float:
        return self.until - time.monotonic()

    @property
    def failed(self) -> int:
        return sum("error" in step for step in self.record["steps"])

    def step(self, name: str, work: Callable[[], Any], wanted_s: float = 0.0) -> Any:
        """What `work` returns, or None where it failed or was left out for want of time."""
        entry: dict[str, Any] = {"name": name}
        self.record["steps"].append(entry)
        found, start = None, time.perf_counter()
        if self.left_s < wanted_s:
            entry["left_out"] = f"{self.left_s:.0f} s left, {wanted_s:.0f} s wanted"
            line = "left out, " + entry["left_out"]
        else:
            try:
                found = work()
                entry["found"] = found if jsonable(found) else None
                line = brief(entry["found"])
            except (Exception, SystemExit) as error:
                entry["error"] = f"{type(error).__name__}: {error}"
                entry["traceback"] = traceback.format_exc()
                line = "FAILED, " + " ".join(entry["error"].split())[:300]
            entry |= {"seconds": time.perf_counter() - start, "clocks": clocks()}
        print(f"{name}: {line} ({time.perf_counter() - start:.1f} s)", flush=True)
        self.write()
        return found

    def write(self) -> None:
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.record, indent=1))
        part.replace(self.path)

    def end(self) -> int:
        """The exit status, 1 if a step failed; what was added to the record since is written too."""
        self.write()
        print(f"{len(self.record['steps'])} steps, {self.failed} failed: {self.path}")
        return int(self.failed > 0)


def jsonable(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def brief(found: Any) -> str:
    """The numbers and words of a step, as one line."""
    if not isinstance(found, dict):
        return "done" if found is None else str(found)
    plain = {k: v for k, v in found.items() if isinstance(v, int | float | str)}
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in plain.items())


def small(plan: Any) -> Any:
    """The plan at the size of a test."""
    from dataclasses import replace

    net = replace(plan.net, widths=tuple(16 for _ in plan.net.widths))
    if hasattr(net, "middle"):
        net = replace(net, middle=tuple(16 for _ in net.middle))
    return replace(plan, net=net, batch_size=50, epochs=2.0)


def made_ready(name: str, dataset: Any, session: Session, tiny: bool) -> tuple[Any, dict[str, Any]]:
    """A recipe's program, with its images, ready to `timed_run`; and seconds of making it so."""
    from hotlap.engine.lower import lower
    from hotlap.inspect.throughput import warm_up
    from hotlap.machine.resolve import resolve
    from hotlap.recipes import find

    plan = find(name).plan()
    plan = small(plan) if tiny else plan
    start = time.perf_counter()
    backend = resolve(plan.numerics, session.device)
    resolved = time.perf_counter()
    program = lower(plan, dataset, backend)
    program.compile()
    warm_up(program)
    program.upload()
    found = {"measuring_s": resolved - start, "compile_s": time.perf_counter() - resolved}
    return program, found | {"arithmetic": backend.in_words, "lacks": backend.lacks}


def timed_run(program: Any, seed: int) -> dict[str, float]:
    """A whole run: seconds of training and evaluation, accuracy in percent."""
    from hotlap.engine.clock import Clock
    from hotlap.engine.evaluate import evaluate
    from hotlap.engine.loop import train

    clock = Clock(program.backend.device)
    for _ in train(program, clock, seed):
        pass
    with clock.measure("eval"):
        score = evaluate(program)
    seconds = {"train_s": clock.seconds["train"], "eval_s": clock.seconds["eval"]}
    return seconds | {"accuracy": score.accuracy, "seed": seed, "clock_drift_s": clock.drift}
