"""What was published of the recipes, to stand beside what is measured here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A recipe's published figures.

    Args:
        seconds: to train it.
        accuracy: test accuracy in percent.
        device: one of this was used.
        follows: the recipe whose time it is compared with; None starts a story.
        aside: an experiment beside the story, or with another goal.
    """

    seconds: float
    accuracy: float
    device: str
    follows: str | None = None
    aside: bool = False


def _page(seconds: float, accuracy: float, follows: str | None = None, aside: bool = False) -> Published:
    return Published(seconds, accuracy, "V100", f"page/{follows}" if follows else None, aside)


# Page's series and its notebooks, one V100, 2018 and 2019
PAGE = {
    "01-baseline": _page(356, 94.0),
    "02-tidy-stem-and-schedule": _page(323, 94.0, "01-baseline"),
    "03-preprocess-once": _page(308, 94.0, "02-tidy-stem-and-schedule"),
    "04-bulk-random-numbers": _page(301, 94.0, "03-preprocess-once"),
    "05-main-thread-augmentation": _page(297, 94.0, "04-bulk-random-numbers"),
    "06-larger-batch": _page(256, 94.0, "05-main-thread-augmentation"),
    "07-norm-in-fp32": _page(186, 94.0, "06-larger-batch"),
    "08-cutout-earlier-peak": _page(161, 94.0, "07-norm-in-fp32"),
    "09-batch-768": _page(154, 94.0, "08-cutout-earlier-peak"),
    "a1-backbone": _page(36, 55.9, aside=True),
    "a2-no-repeated-norm": _page(32, 56.0, "a1-backbone", aside=True),
    "a3-3x3-down-sampling": _page(36, 85.6, "a2-no-repeated-norm", aside=True),
    "a4-max-pool-down-sampling": _page(43, 89.7, "a3-3x3-down-sampling", aside=True),
    "a5-final-width-global-max-pool": _page(47, 90.7, "a4-max-pool-down-sampling", aside=True),
    "a6-unit-norm-scales": _page(47, 91.1, "a5-final-width-global-max-pool", aside=True),
    "a7-residuals": _page(66, 93.7, "a6-unit-norm-scales", aside=True),
    "a8-double-width": _page(321, 93.5, "a6-unit-norm-scales", aside=True),
    "a9-extra-layers": _page(180, 95.0, "a6-unit-norm-scales", aside=True),
    "10-resnet9": _page(79, 94.08, "09-batch-768"),
    "11-device-augmentation": _page(70, 94.1, "10-resnet9"),
    "12-pool-before-norm": _page(64, 94.1, "11-device-augmentation"),
    "13-label-smoothing": _page(59, 94.1, "12-pool-before-norm"),
    "14-celu": _page(52, 94.1, "13-label-smoothing"),
    "15-ghost-norm": _page(46, 94.1, "14-celu"),
    "16-frozen-scales": _page(43, 94.1, "15-ghost-norm"),
    "17-patch-whitening": _page(36, 94.1, "16-frozen-scales"),
    "18-ema": _page(34, 94.1, "17-patch-whitening"),
    "19-flip-tta": _page(26, 94.1, "18-ema"),
    "20-convergence": _page(180, 96.05, "19-flip-tta", aside=True),
}

# one A100 each: hlb-CIFAR10 0.7 (2023), airbench (2024), hiverge (2025), AIDDA (2026)
AFTER = {
    "hlb": Published(6.3, 94.0, "A100"),
    "airbench94": Published(3.83, 94.01, "A100", "hlb"),
    "muon94": Published(2.59, 94.01, "A100", "airbench94"),
    "hiverge94": Published(2.015, 94.01, "A100", "muon94"),
    "airbench95": Published(10.4, 95.01, "A100", aside=True),
    "airbench96": Published(34.7, 96.03, "A100", aside=True),
    "airbench96-faster": Published(27.3, 96.0, "A100", "airbench96", aside=True),
    "aidda100": Published(3.5, 75.2, "A100", aside=True),
}

PUBLISHED: dict[str, Published] = {f"page/{name}": figures for name, figures in PAGE.items()} | AFTER
