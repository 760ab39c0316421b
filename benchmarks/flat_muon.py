"""The Muon recipe's step written out by hand, at full size: what hotlap's own step is timed against.

`Flat(dtype, layout)` is the step a careful person writes for one precision and layout, with nothing
between the lines: no plan, no table of values, no rules. In float32 and contiguous it is the naive port.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTHS = (64, 256, 256)
BATCH = 2000


class Flat:
    """The net's tensors and one method that trains them for a step.

    Args:
        images: (N, 32, 32, 3) uint8.
        labels: (N,) int64.
        mean, std: per channel, 0-255 scale.
        dtype: of activations.
        layout: memory format of activations.
    """

    def __init__(self, images: Tensor, labels: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype, layout):
        torch.manual_seed(0)
        self.dtype, self.layout = dtype, layout
        self.steps, self.total = 0, 8 * (len(images) // BATCH)
        self.labels = labels
        # as the original: normalise, flip at random once and pad once, then crop the whole set each epoch
        x = ((images.float() - mean) / std).permute(0, 3, 1, 2)
        flips = torch.rand(len(x)) < 0.5
        x = torch.where(flips[:, None, None, None], x.flip(-1), x)
        self.padded = F.pad(x, (2,) * 4, mode="reflect").to(dtype).contiguous(memory_format=layout)
        self.weights = {}
        c_in = 24
        for g, c_out in enumerate(WIDTHS):
            for i, c in enumerate((c_in, c_out)):
                w = torch.empty(c_out, c, 3, 3)
                torch.nn.init.kaiming_uniform_(w, a=math.sqrt(5))
                torch.nn.init.dirac_(w[:c])
                self.weights[f"conv{g}{i}"] = w.to(memory_format=layout).requires_grad_()
                self.weights[f"bias{g}{i}"] = torch.zeros(c_out, requires_grad=True)
            c_in = c_out
        head = torch.randn(10, WIDTHS[-1])
        self.weights["head"] = (head / head.std()).requires_grad_()
        self.weights["stem"] = torch.zeros(24, requires_grad=True)
        self.whiten = torch.randn(24, 3, 2, 2).to(dtype).contiguous(memory_format=layout)
        self.ones = {k: torch.ones_like(v) for k, v in self.weights.items() if k.startswith("bias")}
        self.running = {k: [torch.zeros_like(v), torch.ones_like(v)] for k, v in self.ones.items()}
        self.velocity = {k: torch.zeros_like(v) for k, v in self.weights.items()}

    def begin_epoch(self, epoch: int) -> None:
        shifts = torch.randint(0, 5, (len(self.padded), 2))
        self.cropped = torch.empty((len(self.padded), 3, 32, 32), dtype=self.dtype, memory_format=self.layout)
        for r in range(5):
            for c in range(5):
                at = ((shifts[:, 0] == r) & (shifts[:, 1] == c)).nonzero()[:, 0]
                self.cropped[at] = self.padded[at, :, r : r + 32, c : c + 32]
        if epoch % 2:
            self.cropped = self.cropped.flip(-1)
        self.order = torch.randperm(len(self.padded))

    def step(self) -> Tensor:
        per_epoch = len(self.padded) // BATCH
        epoch, within = divmod(self.steps, per_epoch)
        if within == 0:
            self.begin_epoch(epoch)
        index = self.order[within * BATCH : (within + 1) * BATCH]
        x, y = self.cropped[index], self.labels[index]
        w = self.weights
        h = F.gelu(F.conv2d(x, self.whiten, w["stem"].to(self.dtype)))
        for g in range(3):
            h = F.max_pool2d(F.conv2d(h, w[f"conv{g}0"].to(self.dtype), padding=1), 2)
            h = F.gelu(self.norm(h, f"bias{g}0"))
            h = F.gelu(self.norm(F.conv2d(h, w[f"conv{g}1"].to(self.dtype), padding=1), f"bias{g}1"))
        logits = F.linear(F.max_pool2d(h, 3).flatten(1).float(), w["head"]) / 256
        loss = F.cross_entropy(logits, y, label_smoothing=0.2, reduction="sum")
        names = [k for k in w if k != "stem" or self.steps < 3 * per_epoch]
        grads = dict(zip(names, torch.autograd.grad(loss, [w[k] for k in names]), strict=True))
        self.update(grads, 1 - self.steps / self.total, 1 - self.steps / (3 * per_epoch))
        self.steps += 1
        return loss.detach()

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var = self.running[name]
        return F.batch_norm(x, mean, var, self.ones[name], self.weights[name], True, 0.4, 1e-12)

    @torch.no_grad()
    def update(self, grads: dict[str, Tensor], fall: float, stem_fall: float) -> None:
        decay = 2e-6 * BATCH
        for k, g in grads.items():
            w, v = self.weights[k], self.velocity[k]
            if k.startswith("conv"):
                v.mul_(0.6).add_(g)
                direction = g.add(v, alpha=0.6).flatten(1).to(self.dtype)
                w.mul_(len(w) ** 0.5 / w.norm())
                w.add_(orthogonal(direction).view(w.shape), alpha=-0.24 * fall)
                continue
            rate = 0.67 if k == "head" else 0.053
            g = g.add(w, alpha=decay / rate)
            v.mul_(0.85).add_(g)
            w.add_(g.add(v, alpha=0.85), alpha=-rate * (stem_fall if k == "stem" else fall))


def orthogonal(x: Tensor) -> Tensor:
    wide = len(x) <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(3):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if wide else x.T
