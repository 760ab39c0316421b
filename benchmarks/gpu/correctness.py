"""Whether what runs on a GPU is right: the tests for one, each Triton kernel, a captured step.

PYTHONPATH=src python benchmarks/gpu/correctness.py [--out DIR] [--budget 480]
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from common import Session, arguments, small

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("kernels/test_gpu_kernels.py", "program/test_gpu.py", "numerics/test_norms_and_precision.py")
TESTS += ("numerics/test_freezing.py", "numerics/test_feeds.py")
ONE = "numerics/test_freezing.py"  # with --tiny
# muon94's three groups: pooled, and not; images, channels, side
SHAPES = ((500, 64, 31, True), (500, 64, 15, False), (500, 256, 15, True), (500, 256, 7, False))
ROUNDING = {"float32": 2.0**-17, "float16": 2.0**-9, "bfloat16": 2.0**-6}  # some roundings of each


def pytest_file(name: str, session: Session) -> dict[str, Any]:
    """What a file's tests for a GPU come to, without conftest and settings, which want more than pytest."""
    report = session.path.parent / f"{Path(name).stem}.xml"
    words = [sys.executable, "-m", "pytest", "--noconftest", "-c", os.devnull, "-q", "-p", "no:cacheprovider"]
    words += ["-o", f"pythonpath={ROOT / 'tests'}", f"--rootdir={ROOT}", f"--junitxml={report}"]
    words += ["-m", "not gpu" if session.device.type == "cpu" else "gpu or interpreted"]
    done = subprocess.run(
        [*words, str(ROOT / "tests" / name)],
        capture_output=True,
        text=True,
        timeout=max(10.0, session.left_s),
        check=False,
    )
    if not report.exists():
        raise RuntimeError((done.stdout + done.stderr)[-600:])
    suite = next(ElementTree.parse(report).iter("testsuite"))
    counts = {k: int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")}
    bad = [
        f"{case.get('name')}: {problem.get('message')}"
        for case in suite.iter("testcase")
        for problem in (*case.iter("failure"), *case.iter("error"))
    ]
    if bad or done.returncode not in (0, 5):  # 5: none was for a GPU
        raise RuntimeError(f"{counts}: {'; '.join(bad)[:2000] or done.stdout[-600:]}")
    return counts


def kernel(shape: tuple[int, int, int, bool], dtype_name: str, act: str, session: Session) -> dict[str, Any]:
    """Pool, norm and activation, forward and backward, against PyTorch's in float64."""
    import torch
    import torch.nn.functional as F

    from hotlap.machine.kernels.gpu import PoolNormAct

    images, channels, side, pool = shape
    dtype = getattr(torch, dtype_name)
    torch.manual_seed(0)
    with session.device:
        x = torch.randn(images, channels, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
        weight, bias = torch.rand(channels) + 0.5, torch.randn(channels)
        mean, var = torch.zeros(channels), torch.ones(channels)
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    y = PoolNormAct.apply(*leaves, mean, var, pool, True, 1, True, 0.1, 1e-5, act, 1.0)
    grad = torch.randn_like(y)
    got = [y, *torch.autograd.grad(y, leaves, grad)]
    wide = [t.detach().double().requires_grad_() for t in leaves]
    z = F.max_pool2d(wide[0], 2) if pool else wide[0]
    want = getattr(F, act)(F.batch_norm(z, None, None, wide[1], wide[2], True, 0.1, 1e-5))
    wanted = [want, *torch.autograd.grad(want, wide, grad.double())]
    # the size of the difference, and not its largest value: a rounded input may be pooled from elsewhere
    off = {
        name: ((a.double() - b).norm() / b.norm()).item()
        for name, a, b in zip(("y", "dx", "dweight", "dbias"), got, wanted, strict=True)
    }
    if max(off.values()) > ROUNDING[dtype_name]:
        raise ValueError(f"off by {off}, {ROUNDING[dtype_name]:.1e} allowed")
    return off


def captured(name: str, session: Session) -> dict[str, Any]:
    """Losses of a run whose steps are replayed from a graph, against those of one whose steps are not."""
    import torch

    from hotlap import data
    from hotlap.engine.lower import lower
    from hotlap.machine.backend import Backend
    from hotlap.recipes import find

    dataset = data.load("patterns:500,100")
    backend = Backend(session.device, "fp32", "channels_last", False, "asked")
    losses = []
    for compiled in (False, True):
        program = lower(small(find(name).plan()), dataset, backend)
        if compiled:
            program.compile()
        program.upload()
        program.begin(0)
        program.run(0, 5)
        losses.append(program.losses[:5].clone())
    off = (losses[0] - losses[1]).abs().max().item()
    if not torch.allclose(*losses, rtol=1e-3):
        raise ValueError(f"losses {losses[0].tolist()} and, captured, {losses[1].tolist()}")
    return {"largest_difference": off, "first_loss": losses[0][0].item(), "last_loss": losses[0][4].item()}


def main() -> int:
    args = arguments(__doc__).parse_args()
    if args.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
    session = Session("correctness", args)
    for name in ("muon94",) if args.tiny else ("muon94", "fast94", "hiverge94", "airbench96"):
        session.step(f"captured against eager, {name}", lambda name=name: captured(name, session), 5)
    shapes = ((4, 16, 5, True), (2, 8, 4, False)) if args.tiny else SHAPES
    types = ("float32",) if args.device == "cpu" else tuple(ROUNDING)
    for shape in shapes:
        for dtype in types:
            for act in ("gelu",) if args.tiny else ("gelu", "silu", "relu"):
                words = "x".join(map(str, (*shape[:3], shape[2]))) + (", pooled" if shape[3] else "")
                work = lambda s=shape, d=dtype, a=act: kernel(s, d, a, session)  # noqa: E731
                session.step(f"pool_norm_act {words}, {dtype}, {act}", work, 5)
    for name in (ONE,) if args.tiny else TESTS:
        session.step(f"pytest {name}", lambda name=name: pytest_file(name, session), 10)
    return session.end()


if __name__ == "__main__":
    sys.exit(main())
