"""Whether the built-in `patterns` behave like a real problem.

    python benchmarks/patterns.py [--seeds 3]

Trains logistic regression on normalised pixels, then the demo recipe with and without its augmentation.
Aims: a linear model under 45%, the recipe over 94%, and at least 2 points lost without augmentation.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path


def linear_accuracy(epochs: int = 60) -> tuple[float, float]:
    """Train and test accuracy in percent of multinomial logistic regression, the best of several decays."""
    import torch
    import torch.nn.functional as F

    from hotlap import data

    found = data.load("patterns")
    mean, std = (torch.tensor(v) for v in (found.spec.mean, found.spec.std))
    (x, y), (x_test, y_test) = (
        (((torch.tensor(s.images) - mean) / std).flatten(1), torch.tensor(s.labels))
        for s in (found.train, found.test)
    )
    best = (0.0, 0.0)
    for decay in (1e-4, 1e-2, 1e-1, 1.0):
        torch.manual_seed(0)
        weight = torch.zeros(10, x.shape[1], requires_grad=True)
        optimizer = torch.optim.AdamW([weight], lr=1e-3, weight_decay=decay)
        for _ in range(epochs):
            for index in torch.randperm(len(x)).split(500):
                optimizer.zero_grad()
                F.cross_entropy(x[index] @ weight.T, y[index]).backward()
                optimizer.step()
        with torch.no_grad():
            scores = [
                100 * ((a @ weight.T).argmax(1) == b).float().mean().item()
                for a, b in ((x, y), (x_test, y_test))
            ]
        best = max(best, (scores[1], scores[0]))
    return best[1], best[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    import hotlap
    from hotlap.runs.reporter import Reporter

    train, test = linear_accuracy()
    result: dict = {"linear": {"train": train, "test": test}, "demo": {}}
    demo = hotlap.find_recipe("demo")
    plain = demo.then("demo without augmentation", without=["alternating-flip", "translate"])
    for recipe in (demo, plain):
        with tempfile.TemporaryDirectory() as folder:
            runs = [
                hotlap.train(recipe, seed=s, out=Path(folder) / str(s), reporter=Reporter())
                for s in range(args.seeds)
            ]
        result["demo"][recipe.name] = {
            "one_view": [r.summary["single_view_accuracy"] for r in runs],
            "six_views": [r.accuracy for r in runs],
            "train_s": [r.clocks["train"] for r in runs],
        }
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print(f"logistic regression: {test:.1f}% of the test images ({train:.1f}% of the training images)")
    for name, found in result["demo"].items():
        for views in ("one_view", "six_views"):
            each = ", ".join(f"{a:.2f}" for a in found[views])
            print(f"{name}, {views.replace('_', ' ')}: mean {statistics.mean(found[views]):.2f}% ({each})")
        print(f"  train seconds: {', '.join(f'{s:.1f}' for s in found['train_s'])}")


if __name__ == "__main__":
    main()
