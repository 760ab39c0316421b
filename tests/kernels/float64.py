"""What the kernels are held to: the same functions by PyTorch, in the dtype that they are given."""

from __future__ import annotations

import torch
import torch.nn.functional as F

ACTS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu, "celu": lambda z: F.celu(z, 0.3)}


def pooled(x, pool, splits, strided):
    """The parts of the batch that are normalised apart."""
    x = F.max_pool2d(x, 2) if pool else x
    return [x[s::splits] for s in range(splits)] if strided else list(x.chunk(splits))


def pool_norm_act(x, weight, bias, pool, splits, strided, act, mean=None, var=None):
    """Pool, norm and activation, part by part."""
    parts = pooled(x, pool, splits, strided)
    done = [F.batch_norm(p, mean, var, weight, bias, mean is None, 0.1, 1e-5) for p in parts]
    out = torch.stack(done, 1).flatten(0, 1) if strided else torch.cat(done)
    return ACTS[act](out)


def running(x, pool, splits, strided):
    """Running mean and unbiased variance after one batch at a momentum of 0.1, from 0 and 1."""
    flat = [p.transpose(0, 1).flatten(1) for p in pooled(x, pool, splits, strided)]
    mean, var = (torch.stack([f(p) for p in flat]).mean(0) for f in (lambda p: p.mean(1), lambda p: p.var(1)))
    return 0.1 * mean, 0.9 + 0.1 * var
