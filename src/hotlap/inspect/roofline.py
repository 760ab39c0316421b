"""How fast the machine could go, and how fast each convolution of a training step goes, by itself.

A roofline (Williams, Waterman & Patterson, 2009) has two limits: the rate of arithmetic, and the rate of
memory times the arithmetic done for each byte. The convolutions are taken from the step as PyTorch really
executes it, without the gradients that nothing asks for, by running it on the meta device, where tensors have
shapes but no data.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hotlap.engine.clock import wait_for
from hotlap.machine.backend import Backend
from hotlap.machine.kernels import cpu
from hotlap.machine.kernels.choice import used
from hotlap.nets.network import Network

Pass = Literal["forward", "input gradient", "weight gradient"]
PASSES: tuple[Pass, ...] = ("forward", "input gradient", "weight gradient")
PEAK_SHAPES = ((128, 16), (256, 16), (256, 8), (512, 8))  # channels in and out, side; kernel 3
PEAK_FLOP = {"cpu": 3e10, "cuda": 2e12, "mps": 2e11}  # of one convolution whose rate is measured


@dataclass(frozen=True)
class Convolution:
    """One convolution of a step, in one direction.

    Args:
        part: the part of the net it belongs to, such as `group1`.
        direction: which of its three products it is.
        x, weight: shapes (B, C_in, H, W) and (C_out, C_in, k, k).
        stride, padding: pixels.
        out: shape of the result (B, C_out, H', W').
    """

    part: str
    direction: Pass
    x: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def flops(self) -> int:
        """Two a multiply-add; the same in every direction."""
        return 2 * math.prod(self.out) * math.prod(self.weight[1:])

    def traffic(self, itemsize: int) -> int:
        """Bytes, if both operands were read once and the result was written once."""
        return itemsize * sum(map(math.prod, (self.x, self.weight, self.out)))

    @property
    def title(self) -> str:
        """Such as `64 -> 256, 3x3 at 15x15`: channels, kernel, and the side of the input."""
        (_, c_in, h, w), (c_out, _, kh, kw) = self.x, self.weight
        return f"{c_in} -> {c_out}, {kh}x{kw} at {h}x{w}"


@dataclass(frozen=True)
class TimedConvolution:
    """A convolution and the seconds it takes by itself.

    Args:
        done: FLOPs of the products that are really done: fewer than the convolution's own where our kernels
            run it in fewer, or skip its padding.
    """

    convolution: Convolution
    seconds: float
    done: int

    @property
    def rate(self) -> float:
        """FLOP/s."""
        return self.convolution.flops / self.seconds


@dataclass(frozen=True)
class Peaks:
    """What the machine reaches at its best in one precision.

    Args:
        convolution, product: FLOP/s of a convolution and of a product of two large matrices.
        memory: bytes/s, reading and writing.
    """

    convolution: float
    product: float
    memory: float


class _Recorder(TorchDispatchMode):
    """Notes every convolution that is executed inside, and asks `part` where it is."""

    def __init__(self, part: Callable[[], str]):
        super().__init__()  # type: ignore[no-untyped-call]
        self.part = part
        self.found: list[Convolution] = []
        self.waiting: list[Convolution] = []  # those that have not gone back yet

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            x, w, _, stride, padding = args[:5]
            self._note("forward", self.part(), x, w, stride, padding, out)
            self.waiting.append(self.found[-1])
        elif func is torch.ops.aten.convolution_backward.default:
            grad, x, w, _, stride, padding = args[:6]
            shapes = tuple(x.shape), tuple(w.shape)
            # of several alike the last to come forward is the first to go back
            at = max(i for i, c in enumerate(self.waiting) if (c.x, c.weight) == shapes)
            part = self.waiting.pop(at).part
            for wanted, direction in zip(args[10], PASSES[1:], strict=False):
                if wanted:
                    self._note(direction, part, x, w, stride, padding, grad)
        return out

    def _note(
        self, direction: Pass, part: str, x: Tensor, w: Tensor, stride: Any, padding: Any, out: Tensor
    ) -> None:
        shapes = (tuple(t.shape) for t in (x, w, out))
        a, b, c = shapes
        self.found.append(Convolution(part, direction, a, b, tuple(stride), tuple(padding), c))


def convolutions(
    model: Network, shape: Sequence[int], batch: int, learning: frozenset[str], dtype: torch.dtype
) -> list[Convolution]:
    """The convolutions of one training step, in the order in which they run.

    Args:
        model: on the meta device.
        shape: of an image (C, H, W).
        batch: images.
        learning: names of the parameters that get a gradient.
        dtype: of activations.
    """
    inside = [""]
    handles = []
    for name, part in model.body.named_children():
        handles.append(part.register_forward_pre_hook(lambda *_, name=name: inside.append(name)))
        handles.append(part.register_forward_hook(lambda *_: inside.pop() and None))
    x = torch.empty(batch, *shape, dtype=dtype, device="meta")
    labels = torch.zeros(batch, dtype=torch.int64, device="meta")
    weights = [p for n, p in model.train().named_parameters() if n in learning]
    recorder = _Recorder(lambda: inside[-1])
    try:
        with recorder, torch.set_grad_enabled(bool(weights)):
            loss = F.cross_entropy(model(x), labels)
            if weights:
                torch.autograd.grad(loss, weights)
    finally:
        for handle in handles:
            handle.remove()
    return recorder.found


def time_convolution(convolution: Convolution, backend: Backend, rounds: int = 3) -> TimedConvolution:
    """How long a convolution takes by itself, on random numbers: the median of some rounds after a first.

    It is computed as the backend's training steps compute it.
    """
    c, gen = convolution, torch.Generator().manual_seed(0)

    def filled(shape: tuple[int, ...]) -> Tensor:
        made = torch.empty(shape, dtype=backend.dtype).uniform_(-1, 1, generator=gen)
        return made.to(backend.device).contiguous(memory_format=backend.format)

    x, w, grad, padding = filled(c.x), filled(c.weight), filled(c.out), c.padding[0]
    own = used(backend.kernels, "convolution") and takes(c, x, w)
    kernel = w.shape[-1]
    if own:
        w = w.to(backend.weights_dtype)
    mask = [d == c.direction for d in PASSES[1:]] + [False]

    def run() -> object:
        if own and c.direction == "forward":
            return cpu.convolution(x, w, padding)
        if own and c.direction == "input gradient":
            return cpu.input_gradient(x, w, grad, padding)
        if own:
            return cpu.weight_gradient(x, grad, kernel, padding)
        if c.direction == "forward":
            return F.conv2d(x, w, stride=c.stride, padding=c.padding)
        return torch.ops.aten.convolution_backward(
            grad, x, w, None, c.stride, c.padding, (1, 1), False, (0, 0), 1, mask
        )

    with torch.no_grad():
        seconds = [_seconds(run, backend.device) for _ in range(rounds + 1)]
    return TimedConvolution(c, statistics.median(seconds[1:]), flops_done(c, own, backend.dtype))


def flops_done(c: Convolution, own: bool, dtype: torch.dtype) -> int:
    """FLOPs of the products that are done, by our own kernels or not."""
    if own and c.weight[2:] == (3, 3) and c.padding[0] == 1:
        return cpu.flops_done(dtype, c.x[0], *c.x[2:], *c.weight[1::-1])
    return c.flops


def takes(c: Convolution, x: Tensor, weight: Tensor) -> bool:
    """Whether our own kernels take a convolution."""
    even = len({*c.stride}) == len({*c.padding}) == 1
    return even and cpu.takes_convolution(x, weight, c.stride[0], c.padding[0])


def convolution_peak(backend: Backend, flop: float | None = None) -> float:
    """FLOP/s of the fastest of a dozen convolutions of shapes that suit the machine, in its arithmetic.

    PyTorch's convolutions and ours, but for those that do fewer products (Winograd): they can be faster.

    Args:
        flop: of each convolution; None takes what runs for about a tenth of a second on a CPU.
    """
    flop = flop or PEAK_FLOP[backend.device.type]
    on_cpu = backend.device.type == "cpu"
    ours = on_cpu and used(backend.kernels, "convolution") and cpu.tiled(backend.dtype)
    backends = [replace(backend, kernels="none")]
    if ours:
        backends.append(replace(backend, kernels="convolution"))
    best = 0.0
    for channels, side in PEAK_SHAPES:
        images = max(1, round(flop / (2 * 9 * channels**2 * side**2)))
        for direction in PASSES:
            x = (images, channels, side, side)
            convolution = Convolution("", direction, x, (channels, channels, 3, 3), (1, 1), (1, 1), x)
            best = max(best, *(time_convolution(convolution, e).rate for e in backends))
    return best


def product_rate(backend: Backend, side: int = 2048) -> float:
    """FLOP/s of a product of two square matrices in the backend's precision, best of five: what is within
    reach of a net whose arithmetic is all products."""
    gen = torch.Generator().manual_seed(0)
    a = torch.randn(side, side, generator=gen).to(backend.device, backend.dtype)
    return 2 * side**3 / min(_seconds(lambda: torch.mm(a, a), backend.device) for _ in range(5))


def memory_rate(backend: Backend, numbers: int = 1 << 26) -> float:
    """Bytes/s, read and written, of adding two tensors of so many numbers into a third, best of five."""
    a, b, c = (torch.ones(numbers, dtype=backend.dtype, device=backend.device) for _ in range(3))
    best = min(_seconds(lambda: torch.add(a, b, out=c), backend.device) for _ in range(5))
    return 3 * numbers * a.element_size() / best


def measure_peaks(backend: Backend) -> Peaks:
    """The machine's peaks; takes some seconds on a CPU."""
    return Peaks(convolution_peak(backend), product_rate(backend), memory_rate(backend))


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    wait_for(device)
    start = time.perf_counter()
    run()
    wait_for(device)
    return time.perf_counter() - start
