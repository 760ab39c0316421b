"""What our convolutions in fewer products round away in a trained net, beside plain bfloat16.

    python benchmarks/rounding.py [fast94] [--epochs 2.5] [--seed 0] [--images 256]

Trains a short run, then compares each 3x3 convolution of the net with float64 on test images: the root mean
square of the difference over the standard deviation of the channel, averaged over channels. Then the whole
test set, one view, with our convolutions and with PyTorch's: accuracy, cross entropy, labels that differ.
"""

from __future__ import annotations

import argparse
import sys


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", default="fast94")
    parser.add_argument("--epochs", type=float, default=2.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=256)
    args = parser.parse_args()

    import torch
    import torch.nn.functional as F

    from hotlap import data
    from hotlap.engine.clock import Clock
    from hotlap.engine.evaluate import score
    from hotlap.engine.loop import train
    from hotlap.engine.lower import lower
    from hotlap.engine.views import all_logits
    from hotlap.machine.allocator import tune_allocator
    from hotlap.machine.kernels.choice import used
    from hotlap.machine.resolve import resolve
    from hotlap.nets.layers import Conv2d
    from hotlap.plan.recipe import Set
    from hotlap.recipes import find

    recipe = find(args.recipe)
    plan = recipe.then("short", Set("epochs", args.epochs)).plan()
    device = torch.device("cpu")
    tune_allocator()
    backend = resolve(plan.numerics, device)
    if not used(backend.kernels, "convolution"):
        print(f"our convolutions are not used here: {backend.in_words}", file=sys.stderr)
        return 2
    program = lower(plan, data.load(recipe.data), backend)
    program.upload()
    for _ in train(program, Clock(device), args.seed):
        pass
    model = program.model.eval()
    found: list[tuple[str, float, float]] = []

    def watch(name: str):
        def hook(conv: Conv2d, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
            x, w = inputs[0], conv.weight
            exact = F.conv2d(x.double(), w.double(), padding=conv.padding)
            plain = F.conv2d(x, w.to(x.dtype), padding=conv.padding)
            spread = exact.std((0, 2, 3))
            ours, theirs = (
                ((y.double() - exact).square().mean((0, 2, 3)).sqrt() / spread).mean().item()
                for y in (out, plain)
            )
            found.append((name, ours, theirs))

        return hook

    convs = [(n, m) for n, m in model.named_modules() if isinstance(m, Conv2d) and m.kernel == 3]
    handles = [conv.register_forward_hook(watch(name)) for name, conv in convs]
    with torch.no_grad():
        model(program.test_set.read(torch.arange(args.images)))
    for handle in handles:
        handle.remove()
    for name, ours, theirs in found:
        print(f"{name:<24} ours {100 * ours:.2f}%  bfloat16 {100 * theirs:.2f}%")
    labels, logits = program.test_set.labels, {}
    for which in ("ours", "PyTorch's"):
        for _, conv in convs:
            conv.native = which == "ours"
        logits[which] = all_logits(model, program.evaluation_weights(), program.test_set)
        s = score(logits[which], labels)
        print(f"{which} convolutions: {s.accuracy:.2f}%, cross entropy {s.loss:.4f}")
    a, b = logits.values()
    differ = (a.argmax(1) != b.argmax(1)).sum().item()
    print(f"{differ} of {len(labels):,} labels differ; logits by {100 * (a - b).std() / b.std():.2f}%")
    return 0


if __name__ == "__main__":
    sys.exit(main())
