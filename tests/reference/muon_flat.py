"""The Muon recipe as one flat script: slow, eager, float64, nothing shared with the library.

Everything random comes in as arguments, so that the library can be asked to take the same steps.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def train(images_u8, labels, mean, std, order, shifts, flips, weights, *, steps, total_steps, batch):
    """Train for `steps` of a run of `total_steps`; returns (losses, weights, running statistics).

    images_u8: (N, 32, 32, 3). order: indices, one epoch. shifts: (N, 2) rows and columns to move the
    window by, -2 to 2. flips: (N,) bool. weights: initial tensors by short name, `whiten` included.
    """
    w = {k: v.clone().double() for k, v in weights.items()}
    learned = [k for k in w if k != "whiten"]
    stats = {k: [torch.zeros_like(w[k]), torch.ones_like(w[k])] for k in w if k.startswith("shift.")}
    velocity = {k: torch.zeros_like(w[k]) for k in learned}
    whiten_steps = math.ceil(3 / 8 * total_steps)
    losses = []
    for step in range(steps):
        x = torch.empty(batch, 3, 32, 32, dtype=torch.float64)
        y = torch.empty(batch, dtype=torch.long)
        for b in range(batch):
            n = int(order[step * batch + b])
            image = (images_u8[n].double().permute(2, 0, 1) - mean[:, None, None]) / std[:, None, None]
            padded = F.pad(image[None], (2, 2, 2, 2), mode="reflect")[0]
            r, c = 2 + int(shifts[n, 0]), 2 + int(shifts[n, 1])
            crop = padded[:, r : r + 32, c : c + 32]
            x[b] = crop.flip(2) if bool(flips[n]) else crop
            y[b] = labels[n]

        trained = [k for k in learned if k != "whiten_bias" or step < whiten_steps]
        for k in w:
            w[k] = w[k].detach().requires_grad_(k in trained)
        h = gelu(F.conv2d(x, w["whiten"], w["whiten_bias"]))
        for g in "123":
            h = norm(F.max_pool2d(F.conv2d(h, w[f"conv.{g}a"], padding=1), 2), f"shift.{g}a", w, stats)
            h = norm(F.conv2d(gelu(h), w[f"conv.{g}b"], padding=1), f"shift.{g}b", w, stats)
            h = gelu(h)
        features = h.amax((2, 3))
        logits = features @ w["head"].T / features.shape[1]

        log_p = logits.log_softmax(1)
        loss = (0.8 * -log_p[torch.arange(batch), y] + 0.2 * -log_p.mean(1)).sum()
        losses.append(loss.item() / batch)
        grads = dict(zip(trained, torch.autograd.grad(loss, [w[k] for k in trained]), strict=True))

        fall = 1 - step / total_steps
        for k in trained:
            g, weight = grads[k], w[k].detach()
            if k.startswith("conv."):
                velocity[k] = 0.6 * velocity[k] + g
                direction = g + 0.6 * velocity[k]
                weight = weight * math.sqrt(len(weight)) / weight.norm()
                w[k] = weight - 0.24 * fall * orthogonal(direction.flatten(1)).view_as(weight)
                continue
            rate = {"head": 0.67}.get(k, 0.053)
            decay = 2e-6 * batch / rate
            lr = rate * (1 - step / whiten_steps if k == "whiten_bias" else fall)
            g = g + decay * weight
            velocity[k] = 0.85 * velocity[k] + g
            w[k] = weight - lr * (g + 0.85 * velocity[k])
    return losses, {k: v.detach() for k, v in w.items()}, stats


def orthogonal(x):
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = len(x) <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(3):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.T


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def norm(x, name, w, stats, eps=1e-12):
    """Batch norm without scale; the newest batch counts 0.4 in the running statistics."""
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    n = x.numel() // x.shape[1]
    stats[name][0] = 0.6 * stats[name][0] + 0.4 * mean.detach()
    stats[name][1] = 0.6 * stats[name][1] + 0.4 * var.detach() * n / (n - 1)
    return (x - mean[None, :, None, None]) / (var + eps).sqrt()[None, :, None, None] + w[name][
        None, :, None, None
    ]
