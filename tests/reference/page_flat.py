"""Page's final recipe as one flat script: slow, eager, float64, nothing shared with the library.

Everything random comes in as arguments, so that the library can be asked to take the same steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def train(images_u8, labels, mean, std, order, shifts, flips, weights, *, steps, total_steps, batch):
    """Train for `steps` of a run of `total_steps`; returns (losses, weights, running stats, EMA of both).

    images_u8: (N, 32, 32, 3). order: indices, one epoch. shifts: (N, 2) rows and columns to move the
    window by, -4 to 4. flips: (N,) bool. weights: initial tensors by short name, `whiten` included.
    """
    w = {k: v.clone().double() for k, v in weights.items()}
    learned = [k for k in w if k != "whiten"]
    stats = {k: [torch.zeros_like(w[k]), torch.ones_like(w[k])] for k in w if k.startswith("shift.")}
    velocity = {k: torch.zeros_like(w[k]) for k in learned}
    ema_w = {k: v.clone() for k, v in w.items()}
    ema_stats = {k: [t.clone() for t in v] for k, v in stats.items()}
    losses = []
    for step in range(steps):
        # data: pad by reflection, crop, flip, one image at a time
        x = torch.empty(batch, 3, 32, 32, dtype=torch.float64)
        y = torch.empty(batch, dtype=torch.long)
        for b in range(batch):
            n = int(order[step * batch + b])
            image = (images_u8[n].double().permute(2, 0, 1) - mean[:, None, None]) / std[:, None, None]
            padded = F.pad(image[None], (4, 4, 4, 4), mode="reflect")[0]
            r, c = 4 + int(shifts[n, 0]), 4 + int(shifts[n, 1])
            crop = padded[:, r : r + 32, c : c + 32]
            x[b] = crop.flip(2) if bool(flips[n]) else crop
            y[b] = labels[n]

        for k in learned:
            w[k].requires_grad_()
        h = F.conv2d(x, w["whiten"], padding=1)
        h = act_norm(F.conv2d(h, w["conv.prep"]), "shift.prep", w, stats)
        h = act_norm(F.max_pool2d(F.conv2d(h, w["conv.1"], padding=1), 2), "shift.1", w, stats)
        r1 = act_norm(F.conv2d(h, w["conv.1a"], padding=1), "shift.1a", w, stats)
        h = h + act_norm(F.conv2d(r1, w["conv.1b"], padding=1), "shift.1b", w, stats)
        h = act_norm(F.max_pool2d(F.conv2d(h, w["conv.2"], padding=1), 2), "shift.2", w, stats)
        h = act_norm(F.max_pool2d(F.conv2d(h, w["conv.3"], padding=1), 2), "shift.3", w, stats)
        r3 = act_norm(F.conv2d(h, w["conv.3a"], padding=1), "shift.3a", w, stats)
        h = h + act_norm(F.conv2d(r3, w["conv.3b"], padding=1), "shift.3b", w, stats)
        logits = h.amax((2, 3)) @ w["head"].T / 16

        log_p = logits.log_softmax(1)
        right = -log_p[torch.arange(batch), y]
        loss = (0.8 * right + 0.2 * -log_p.mean(1)).sum()
        losses.append(loss.item() / batch)
        grads = dict(zip(learned, torch.autograd.grad(loss, [w[k] for k in learned]), strict=True))

        # the rate of step t is read at its end, t + 1; knots at 0, 20% and 80% of the run
        t = (step + 1) / total_steps
        lr = t / 0.2 if t < 0.2 else (1 - 0.9 * (t - 0.2) / 0.6 if t < 0.8 else 0.1)
        for k in learned:
            factor = 64 if k.startswith("shift.") else 1
            rate, decay = lr * factor / batch, 5e-4 * batch / factor
            weight = w[k].detach()
            dw = -rate * (grads[k] + decay * weight)
            velocity[k] = 0.9 * velocity[k] + dw
            w[k] = weight + dw + 0.9 * velocity[k]
        if step % 5 == 0:
            rho = 0.99**5
            for k in w:
                ema_w[k] = rho * ema_w[k] + (1 - rho) * w[k]
            for k in stats:
                ema_stats[k] = [rho * e + (1 - rho) * s for e, s in zip(ema_stats[k], stats[k], strict=True)]
    return losses, w, stats, ema_w, ema_stats


def act_norm(x, name, w, stats, splits=16, eps=1e-5):
    """Ghost batch norm over x[s::16], no scale, then CELU with alpha 0.3."""
    out = torch.empty_like(x)
    means, variances = [], []
    for s in range(splits):
        part = x[s::splits]
        mean, var = part.mean((0, 2, 3)), part.var((0, 2, 3), unbiased=False)
        normed = (part - mean[None, :, None, None]) / (var + eps).sqrt()[None, :, None, None]
        out[s::splits] = normed + w[name][None, :, None, None]
        n = part.numel() // part.shape[1]
        means.append(mean.detach())
        variances.append(var.detach() * n / (n - 1))
    stats[name][0] = 0.9 * stats[name][0] + 0.1 * torch.stack(means).mean(0)
    stats[name][1] = 0.9 * stats[name][1] + 0.1 * torch.stack(variances).mean(0)
    # PyTorch's own: its backward is off by some 4e-8 even in float64 (seen on 2.13), so a
    # formula written out here could not be compared to 1e-9
    return F.celu(out, 0.3)
