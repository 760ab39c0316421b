"""The nets as flat functions of images and a dictionary of weights; nothing shared with the library.

`w` holds weights by the names of the library's state dictionaries, and the running statistics. In training
the norms use the batch's statistics; `stats`, if given, collects (mean, unbiased variance) of each by its
path. Everything else about a net comes in as arguments, said by hand.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


class Flat:
    """What every net needs: convolution, norm, activation, pools, head."""

    def __init__(self, w, *, train=True, act="relu", alpha=1.0, eps=1e-5, stats=None):
        self.w, self.train, self.name, self.alpha, self.eps, self.stats = w, train, act, alpha, eps, stats

    def conv(self, x, path, stride=1):
        """`same` padding; an even kernel reaches one pixel further down and right than up and left."""
        weight = self.w[f"{path}.weight"]
        k = weight.shape[-1]
        before, after = (k - 1) // 2, k // 2
        return F.conv2d(F.pad(x, (before, after, before, after)), weight, stride=stride)

    def norm(self, x, path):
        if self.train:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            if self.stats is not None:
                self.stats[path] = (mean.detach(), x.detach().var((0, 2, 3), unbiased=True))
        else:
            mean, var = self.w[f"{path}.running_mean"], self.w[f"{path}.running_var"]
        mean, var, scale, shift = (
            t[None, :, None, None] for t in (mean, var, self.w[f"{path}.weight"], self.w[f"{path}.bias"])
        )
        return (x - mean) / torch.sqrt(var + self.eps) * scale + shift

    def act(self, x, name=None):
        name = name or self.name
        if name == "relu":
            return torch.where(x > 0, x, torch.zeros_like(x))
        if name == "gelu":
            return x * (1 + torch.erf(x / math.sqrt(2))) / 2
        if name == "silu":
            return x / (1 + torch.exp(-x))
        smooth = self.alpha * (torch.exp(x.clamp(max=0) / self.alpha) - 1)
        return torch.where(x > 0, x, smooth)

    def cna(self, x, path, stride=1):
        return self.act(self.norm(self.conv(x, f"{path}.conv", stride), f"{path}.norm"))

    def halved(self, x):
        """2x2 max pool, an odd last row or column dropped."""
        h, w = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        corners = [x[:, :, i:h:2, j:w:2] for i in (0, 1) for j in (0, 1)]
        return torch.stack(corners).amax(0)

    def head(self, features, scale):
        out = features @ self.w["head.weight"].T
        if "head.bias" in self.w:
            out = out + self.w["head.bias"]
        return out * scale

    def whiten(self, x, path, padding):
        bias = self.w.get(f"{path}.bias")
        return F.conv2d(x, self.w[f"{path}.weight"], bias, padding=padding)


def resnet9(
    x,
    w,
    *,
    residual=(),
    extra=(),
    down="pool",
    pool="after_act",
    repeats=(1, 1, 1, 1),
    both_pools=False,
    scale=1.0,
    whiten_padding=None,
    **kinds,
):
    """A stem, three layers that each halve the image, a global pool, a linear head."""
    f = Flat(w, **kinds)

    def again(x, path, times):
        for i in range(2, times + 1):
            x = f.act(f.norm(x, f"{path}.again{i}.norm"))
        return x

    if whiten_padding is not None:
        x = f.whiten(x, "body.stem.whiten", whiten_padding)
    x = again(f.cna(x, "body.stem"), "body.stem", repeats[0])
    for i in (1, 2, 3):
        path = f"body.layer{i}"
        if down == "pool":
            x = f.conv(x, f"{path}.conv")
            if pool == "before_norm":
                x = f.act(f.norm(f.halved(x), f"{path}.norm"))
            elif pool == "before_act":
                x = f.act(f.halved(f.norm(x, f"{path}.norm")))
            else:
                x = f.halved(f.act(f.norm(x, f"{path}.norm")))
        else:
            x = f.cna(x, path, stride=2)  # the kernel's size is the weights'
        x = again(x, path, repeats[i])
        if i in extra:
            x = f.cna(x, f"{path}.extra")
        if i in residual:
            x = x + f.cna(f.cna(x, f"{path}.residual.branch.0"), f"{path}.residual.branch.1")
    largest = x.amax((2, 3))
    return f.head(torch.cat((largest, x.mean((2, 3))), 1) if both_pools else largest, scale)


def resnet18(x, w, *, stem_norm, scale=1.0, **kinds):
    """Four stages of two pre-activation blocks; the last three start with stride 2 and a 1x1 shortcut."""
    f = Flat(w, **kinds)
    x = f.conv(x, "body.stem.conv")
    if stem_norm:
        x = f.act(f.norm(x, "body.stem.norm"))
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            path = f"body.stage{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            x = f.act(f.norm(x, f"{path}.norm1"))
            long = f.conv(x, f"{path}.conv1", stride)
            long = f.conv(f.act(f.norm(long, f"{path}.norm2")), f"{path}.conv2")
            short = f"{path}.shortcut"
            x = (f.conv(x, short, stride) if f"{short}.weight" in w else x) + long
    return f.head(torch.cat((x.amax((2, 3)), x.mean((2, 3))), 1), scale)


def airnet(
    x,
    w,
    *,
    groups=3,
    depth=2,
    residual="none",
    plus_mean=False,
    whiten_padding=None,
    pointwise=False,
    stem_act=None,
    scale=1.0,
    **kinds,
):
    """A stem and groups of convolutions, the first of each pooled before its norm."""
    f = Flat(w, **kinds)
    if whiten_padding is None:
        x = f.cna(x, "body.stem")
    else:
        x = f.whiten(x, "body.stem.whiten", whiten_padding)
        x = f.cna(x, "body.stem") if pointwise else f.act(x, stem_act)
    for g in range(1, groups + 1):
        paths = [f"body.group{g}."] * depth
        if residual != "none":
            paths = [f"body.group{g}.first.", *[f"body.group{g}.rest."] * (depth - 1)]
        x = f.halved(f.conv(x, f"{paths[0]}conv1"))
        x = first = f.act(f.norm(x, f"{paths[0]}norm1"))
        for j in range(2, depth + 1):
            x = f.norm(f.conv(x, f"{paths[j - 1]}conv{j}"), f"{paths[j - 1]}norm{j}")
            if j == depth and residual == "before_act":
                x = x + first
            x = f.act(x)
        if residual == "after_act":
            x = x + first
    features = x.amax((2, 3)) + (x.mean((2, 3)) if plus_mean else 0)
    return f.head(features, scale)
