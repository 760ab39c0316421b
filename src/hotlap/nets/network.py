"""A whole net as the program uses it: body, dropout, head; its stages, and the role of each parameter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.machine.kernels.choice import used
from hotlap.machine.numerics import Kernels
from hotlap.nets.describe import ROLES, Role
from hotlap.nets.layers import Chain, Conv2d, Linear, Whiten
from hotlap.nets.norms import BatchNorm


class Dropout(nn.Module):
    """In training a share of x is set to 0 and the rest made larger, so that its mean stays; else nothing.

    Once `step` is set, which ones depends on it and on nothing else: a step that is captured and replayed
    leaves out others each time, and a run that is resumed the same as one that was not interrupted.
    """

    step: Tensor | None = None  # (1,) int64, on the device

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        if self.step is None:
            return F.dropout(x, self.share)
        places = torch.arange(x.numel(), device=x.device) + self.step * x.numel()
        keep = (uniform(places) >= self.share).reshape(x.shape)
        return x * keep / (1 - self.share)


def uniform(counters: Tensor) -> Tensor:
    """Float32 numbers from 0 to below 1, each made of one int64: SplitMix64 (Steele, 2014)."""
    z = counters * signed(0x9E3779B97F4A7C15)
    z = (z ^ (z >> 30 & (1 << 34) - 1)) * signed(0xBF58476D1CE4E5B9)  # torch's shift copies the sign: masked
    z = (z ^ (z >> 27 & (1 << 37) - 1)) * signed(0x94D049BB133111EB)
    z = z ^ (z >> 31 & (1 << 33) - 1)
    return (z >> 40 & (1 << 24) - 1).float() / (1 << 24)


def signed(word: int) -> int:
    """The signed number that has the same 64 bits, the first of which is set."""
    return word - (1 << 64)


class Network(nn.Module):
    """A net as the program uses it.

    Args:
        body: images (B, C, H, W) to features (B, F).
        head: features to logits (B, classes).
        dropout: share of the features that the head does not see in training.
    """

    def __init__(self, body: nn.Module, head: Linear, dropout: float = 0.0):
        super().__init__()
        self.body, self.head = body, head
        self.dropout = Dropout(dropout) if dropout else nn.Identity()
        self.front: tuple[nn.Module, int] | None = None  # not as a module: the net has its weights once

    def features(self, x: Tensor) -> Tensor:
        """What the head reads of images (B, C, H, W): (B, F)."""
        if self.training and self.front:
            fast, stands_for = self.front
            with torch.no_grad():
                x = fast(x)
            for part in list(self.body.children())[stands_for:]:
                x = part(x)
            return x
        out: Tensor = self.body(x)
        return out

    def first(self, stages: int) -> list[nn.Module]:
        """The parts of the body up to the stage of this number, from 1."""
        parts = list(self.body.children())
        ends = [i + 1 for i, part in enumerate(parts) if any(True for _ in part.parameters())]
        return parts[: ends[stages - 1]]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.dropout(self.features(x)))
        return out

    def follow(self, step: Tensor) -> None:
        """Draw what is random in a training step from the step's number, (1,) int64 on the device."""
        if isinstance(self.dropout, Dropout):
            self.dropout.step = step

    def reset(self, generator: torch.Generator) -> None:
        """Draw all parameters again, in place, from a CPU generator: the same on every device."""
        for module in self.modules():
            if isinstance(module, Conv2d | Linear | BatchNorm | Whiten):
                module.reset(generator)

    def use_kernels(self, kernels: Kernels) -> None:
        """Let our own kernels stand in for PyTorch's operations, where they take what comes."""
        for module in self.modules():
            if isinstance(module, Conv2d):
                module.native = module.groups == 1 and used(kernels, "convolution")
            elif isinstance(module, Chain):
                module.native = used(kernels, "pool_norm_act")

    @property
    def calibration_images(self) -> int:
        """How many training images `calibrate` wants; 0 if none."""
        return max((m.stem.images for m in self.modules() if isinstance(m, Whiten)), default=0)

    def calibrate(self, images: Tensor) -> None:
        """Set what is computed from data: images (N, C, H, W), normalised, in the weights' dtype."""
        for module in self.modules():
            if isinstance(module, Whiten):
                module.calibrate(images)

    def stages(self) -> list[list[str]]:
        """Names of the trainable parameters of each stage, from the input on: the stem, then each group or
        layer. A stem that is all fixed is a stage without any."""
        roles = self.roles()
        parts = [
            part for part, module in self.body.named_children() if any(True for _ in module.parameters())
        ]
        return [[name for name in roles if name.startswith(f"body.{part}.")] for part in parts]

    def roles(self) -> dict[str, Role]:
        """The role of each trainable parameter, by name."""
        found: dict[str, Role] = {}
        owner: dict[str, nn.Module] = dict(self.named_modules())
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                path, _, leaf = name.rpartition(".")
                found[name] = role_of(owner[path], leaf)
        return found


def role_of(module: nn.Module, leaf: str) -> Role:
    kinds = {Conv2d: "filter", BatchNorm: f"norm_{leaf}", Whiten: "stem_bias", Linear: f"head_{leaf}"}
    role = kinds[type(module)]
    assert role in ROLES, role
    return role
