"""The Muon recipe written out by hand, at full size: what hotlap's own steps and runs are timed against.

`Flat(..., dtype, layout)` is the run a careful person writes for one precision and layout, with nothing
between the lines: no plan, no table of values, no rules. In float32 and contiguous it is the naive port.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTHS = (64, 256, 256)
BATCH = 2000
STEM_SHARE = 3 / 8  # of the run: 3 epochs of 8
MOVES = ((0.25, 0), (0.125, -1), (0.125, 1))  # weight, and pixels moved down and right
VIEWS = tuple((weight, moved, mirrored) for weight, moved in MOVES for mirrored in (False, True))
ONE_VIEW = ((1.0, 0, False),)


class Flat:
    """The net's tensors, a method that trains them for a step, and one that looks at images.

    Args:
        images: (N, 32, 32, 3) uint8.
        labels: (N,) int64.
        mean, std: per channel, 0-255 scale.
        dtype: of activations.
        layout: memory format of activations.
        seed: of everything random.
        epochs: of the whole run, `total` steps.
        batch: images a step; None is `BATCH`.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        mean: Tensor,
        std: Tensor,
        dtype: torch.dtype,
        layout,
        seed: int = 0,
        epochs: float = 8.0,
        batch: int | None = None,
    ):
        torch.manual_seed(seed)
        self.batch = batch or BATCH
        self.dtype, self.layout, self.mean, self.std = dtype, layout, mean, std
        self.steps, self.total = 0, max(1, math.ceil(epochs * (len(images) // self.batch) - 1e-9))
        self.labels = labels
        # as the original: normalise, flip at random once and pad once, then crop the whole set each epoch
        x = self.normalise(images)
        self.whiten = whitening(x[:5000]).to(dtype).contiguous(memory_format=layout)
        flips = draw_flips(len(x))
        x = torch.where(flips[:, None, None, None], x.flip(-1), x)
        self.padded = F.pad(x, (2,) * 4, mode="reflect").to(dtype).contiguous(memory_format=layout)
        self.weights = {"stem": torch.empty(24).uniform_(-(12**-0.5), 12**-0.5).requires_grad_()}
        c_in = 24
        for g, c_out in enumerate(WIDTHS):
            for i, c in enumerate((c_in, c_out)):
                w = torch.empty(c_out, c, 3, 3)
                torch.nn.init.kaiming_uniform_(w, a=math.sqrt(5))
                torch.nn.init.dirac_(w[:c])
                self.weights[f"conv{g}{i}"] = w.to(memory_format=layout).requires_grad_()
                self.weights[f"bias{g}{i}"] = torch.zeros(c_out, requires_grad=True)
            c_in = c_out
        head = torch.empty(10, WIDTHS[-1]).uniform_(-1, 1)
        self.weights["head"] = (head / head.std()).requires_grad_()
        self.ones = {k: torch.ones_like(v) for k, v in self.weights.items() if k.startswith("bias")}
        self.running = {k: [torch.zeros_like(v), torch.ones_like(v)] for k, v in self.ones.items()}
        self.velocity = {k: torch.zeros_like(v) for k, v in self.weights.items()}

    def normalise(self, images: Tensor) -> Tensor:
        """(N, 32, 32, 3) uint8 to (N, 3, 32, 32) float32, channels-last."""
        return ((images.float() - self.mean) / self.std).permute(0, 3, 1, 2)

    def begin_epoch(self, epoch: int) -> None:
        shifts = draw_shifts(len(self.padded))
        self.cropped = torch.empty((len(self.padded), 3, 32, 32), dtype=self.dtype, memory_format=self.layout)
        for r in range(5):
            for c in range(5):
                at = ((shifts[:, 0] == r) & (shifts[:, 1] == c)).nonzero()[:, 0]
                self.cropped[at] = self.padded[at, :, r : r + 32, c : c + 32]
        if epoch % 2:
            self.cropped = self.cropped.flip(-1)
        self.order = draw_order(len(self.padded))

    def step(self) -> Tensor:
        per_epoch = len(self.padded) // self.batch
        epoch, within = divmod(self.steps, per_epoch)
        if within == 0:
            self.begin_epoch(epoch)
        index = self.order[within * self.batch : (within + 1) * self.batch]
        x, y = self.cropped[index], self.labels[index]
        w, until = self.weights, STEM_SHARE * self.total
        loss = F.cross_entropy(self.logits(x, True), y, label_smoothing=0.2, reduction="sum")
        names = [k for k in w if k != "stem" or self.steps < until]
        grads = dict(zip(names, torch.autograd.grad(loss, [w[k] for k in names]), strict=True))
        self.update(grads, 1 - self.steps / self.total, 1 - self.steps / until)
        self.steps += 1
        return loss.detach() / self.batch

    def logits(self, x: Tensor, training: bool) -> Tensor:
        """(B, 10), in the weights' dtype, of normalised images (B, 3, 32, 32)."""
        w = self.weights
        h = F.gelu(F.conv2d(x, self.whiten, w["stem"].to(self.dtype)))
        for g in range(3):
            h = F.max_pool2d(F.conv2d(h, w[f"conv{g}0"].to(self.dtype), padding=1), 2)
            h = F.gelu(self.norm(h, f"bias{g}0", training))
            h = F.gelu(
                self.norm(F.conv2d(h, w[f"conv{g}1"].to(self.dtype), padding=1), f"bias{g}1", training)
            )
        return F.linear(F.max_pool2d(h, 3).flatten(1).to(w["head"].dtype), w["head"]) / WIDTHS[-1]

    @torch.no_grad()
    def look(self, images: Tensor, size: int = 1000, views=VIEWS) -> Tensor:
        """Logits (N, 10) of images (N, 32, 32, 3) uint8, averaged over the views."""
        found = []
        for part in images.split(size):
            x = self.normalise(part).to(self.dtype).contiguous(memory_format=self.layout)
            padded, total = F.pad(x, (1,) * 4, mode="reflect"), torch.zeros(len(x), 10)
            for weight, moved, mirrored in views:
                view = padded[:, :, 1 - moved : 33 - moved, 1 - moved : 33 - moved]
                seen = view.flip(-1) if mirrored else view
                total += weight * self.logits(seen.contiguous(memory_format=self.layout), False)
            found.append(total)
        return torch.cat(found)

    def norm(self, x: Tensor, name: str, training: bool) -> Tensor:
        mean, var = self.running[name]
        return F.batch_norm(x, mean, var, self.ones[name], self.weights[name], training, 0.4, 1e-12)

    @torch.no_grad()
    def update(self, grads: dict[str, Tensor], fall: float, stem_fall: float) -> None:
        decay = 2e-6 * self.batch
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


def whitening(x: Tensor) -> Tensor:
    """Filters (24, 3, 2, 2) that whiten the 2 x 2 patches of normalised images (N, 3, 32, 32), both signs."""
    cov, count = torch.zeros(12, 12), 0
    for part in x.split(500):
        patches = F.unfold(part, 2).transpose(1, 2).reshape(-1, 12)
        cov += patches.T @ patches
        count += len(patches)
    values, vectors = torch.linalg.eigh(cov.double() / count)
    filters = (vectors / (values + 5e-4).sqrt()).T.flip(0).to(x.dtype)  # the largest first
    return torch.cat((filters, -filters)).view(24, 3, 2, 2)


def draw_flips(count: int) -> Tensor:
    """(count,) bool: which images are mirrored in even epochs, the others being in odd ones."""
    return torch.rand(count) < 0.5


def draw_shifts(count: int) -> Tensor:
    """(count, 2): first row and column of each image's window, 0 to 4."""
    return torch.randint(0, 5, (count, 2))


def draw_order(count: int) -> Tensor:
    """(count,): an epoch's order."""
    return torch.randperm(count)
