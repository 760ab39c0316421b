"""A run in several processes on this machine: what each of them does, and what the plans are.

`torchrun` is not needed for it: a rank is a process that finds torchrun's variables in its environment.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from helpers import FP64, noise_dataset
from hotlap.data.loading import HostLoader, Resolution
from hotlap.engine.evaluate import evaluated
from hotlap.engine.lower import lower
from hotlap.engine.program import Program
from hotlap.machine.ranks import ALONE, Ranks, joined, leave
from hotlap.plan import HighestLoss, Plan
from hotlap.recipes import BUILTIN
from hotlap.tricks.lookahead import Lookahead

STEPS, BATCH = 20, 12
DATA = noise_dataset((3, 16, 16), classes=5, train=90, test=41)
SHORT = {"batch_size": BATCH, "epochs": STEPS / (90 // BATCH)}

PAGE = BUILTIN["page/19-flip-tta"].plan()
MUON = BUILTIN["muon94"].plan()
HARD = BUILTIN["airbench96-faster"].plan()
MUON = replace(MUON, net=replace(MUON.net, widths=(4, 6), stem=replace(MUON.net.stem, images=20)), **SHORT)
PLANS: dict[str, Plan] = {
    "sgd": replace(
        BUILTIN["page/18-ema"].plan(),
        after=(),
        net=replace(PAGE.net, widths=(4, 4, 6, 4), norm=replace(PAGE.net.norm, splits=1)),
        evaluation=replace(PAGE.evaluation, weights="final"),
        **SHORT,
    ),
    "sgd, ghost norm, ema": replace(
        PAGE,
        net=replace(PAGE.net, widths=(4, 4, 4, 4), norm=replace(PAGE.net.norm, splits=2)),
        after=tuple(replace(a, every=3) for a in PAGE.after),
        **SHORT,
    ),
    "muon": MUON,
    "muon, lookahead": replace(Lookahead(every=2)(BUILTIN["muon94"].plan()), net=MUON.net, **SHORT),
    "growing images": replace(MUON, resolution=Resolution((0.5,), (0.75,))),
    "highest loss": replace(MUON, sampler=HighestLoss(full=1, share=0.6)),
    "hard examples": replace(
        HARD,
        net=replace(HARD.net, widths=(4, 4), middle=()),
        sampler=replace(HARD.sampler, of=18, every=2, net=replace(HARD.sampler.net, widths=(4,))),
        after=tuple(replace(a, every=2) for a in HARD.after),
        **SHORT,
    ),
    "host": replace(
        MUON,
        augment=tuple(a for a in MUON.augment if type(a).__name__ == "Translate"),
        loader=HostLoader("once", "bulk", 0),
    ),
}


def split_as(plan: Plan, ranks: int) -> Plan:
    """The plan whose norms, in one process, see what those of so many ranks see."""
    norm = replace(plan.net.norm, splits=plan.net.norm.splits * ranks)
    return replace(plan, net=replace(plan.net, norm=norm))


def made(plan: Plan, ranks: Ranks = ALONE, seed: int = 3) -> Program:
    program = lower(plan, DATA, FP64, ranks=ranks)
    program.upload()
    program.begin(seed)
    return program


def trained(program: Program, start: int = 0, stop: int = STEPS) -> None:
    for a, b in program.segments(start, 1):
        if b > stop:
            break
        program.run(a, b)


def outcome(program: Program) -> dict[str, torch.Tensor]:
    """What training came to, and the logits of the test set."""
    if program.steps:
        program.finish()
    score, logits = evaluated(program)
    assert score.count == len(DATA.test)
    return {k: v.detach().clone().contiguous() for k, v in {**program.state(), "logits": logits}.items()}


def environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun would say to a process."""
    said = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    said |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {**os.environ, "OMP_NUM_THREADS": "1", **{k: str(v) for k, v in said.items()}}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def together(count: int, *words: str, more: Mapping[str, str] | None = None) -> list[subprocess.Popen[str]]:
    """`python WORDS` as so many ranks, under way."""
    port = free_port()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen(
            [sys.executable, *words], env=environment(r, count, port) | dict(more or {}), **pipes
        )
        for r in range(count)
    ]


def main(folder: Path, names: list[str]) -> None:
    """Every plan on this rank; each keeps what it came to, to be compared."""
    ranks = joined()
    for name in names:
        program = made(PLANS[name], ranks)
        trained(program)
        save_file(outcome(program), folder / f"{name}-{ranks.rank}of{ranks.count}.safetensors")
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(PLANS))
