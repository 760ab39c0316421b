"""The recipes of the airbench lineage (Jordan, 2024), after hlb-CIFAR10 (Balsam, 2023)."""

from __future__ import annotations

from dataclasses import replace

from hotlap.nets import AirNet, ConvStem
from hotlap.optim import SGD
from hotlap.plan import BASE_RULE, Plan
from hotlap.plan.recipe import Recipe, Set
from hotlap.plan.schedule import Piecewise
from hotlap.tricks.alternating_flip import AlternatingFlip
from hotlap.tricks.color_jitter import ColorJitter
from hotlap.tricks.cutmix import Cutmix
from hotlap.tricks.cutout import Cutout
from hotlap.tricks.deep_groups import DeepGroups
from hotlap.tricks.dirac_init import DiracInit
from hotlap.tricks.fast_norm_statistics import FastNormStatistics
from hotlap.tricks.flip_tta import FlipTta
from hotlap.tricks.hard_examples import HardExamples
from hotlap.tricks.label_smoothing import LabelSmoothing
from hotlap.tricks.logit_scale import LogitScale
from hotlap.tricks.lookahead import Lookahead
from hotlap.tricks.multi_crop_tta import MultiCropTta
from hotlap.tricks.muon import Muon
from hotlap.tricks.norm_bias_rate import NormBiasRate
from hotlap.tricks.one_cycle import OneCycle
from hotlap.tricks.patch_whitening import PatchWhitening
from hotlap.tricks.progressive_resolution import ProgressiveResolution
from hotlap.tricks.random_flip import RandomFlip
from hotlap.tricks.silu import Silu
from hotlap.tricks.translate import Translate
from hotlap.tricks.uncertain_tta import UncertainTta
from hotlap.tricks.unit_head import UnitHead
from hotlap.tricks.widths import Widths

# airbench quotes 11.5 per 1024 examples before a Nesterov correction
NESTEROV = 1 + 1 / (1 - 0.85)
AIRBENCH_LR = 11.5 / NESTEROV


def whitening(bias_until: float, images: int = 5000) -> PatchWhitening:
    """The whitening stem of the lineage: 2x2 patches, both signs, a bias trained for a share of the run."""
    return PatchWhitening(
        kernel=2,
        signs=2,
        bias=True,
        bias_until=bias_until,
        pointwise=False,
        eps=5e-4,
        images=images,
        padding=0,
    )


def rates(lr: float, decay: float, batch: int = 1024) -> tuple[Set, ...]:
    """Rate and decay of every rule, quoted by airbench for 1024 examples; shifts learn 64 times faster."""
    times = {"weights": 1.0, "stem": 1.0, "norms": 64.0}
    share = batch / 1024
    return tuple(
        step
        for name, factor in times.items()
        for step in (
            Set(f"rules.{name}.lr", lr / NESTEROV * factor * share),
            Set(f"rules.{name}.weight_decay", decay / lr / factor / share),
        )
    )


AIRNET = Recipe(
    "airnet",
    "the airbench net and schedule without its tricks",
    Plan(
        net=AirNet(stem=ConvStem(), init="default"),
        rules=(
            replace(
                BASE_RULE,
                optimizer=SGD(quoted_for="mean"),
                lr=AIRBENCH_LR,
                weight_decay=0.0153 / 11.5,
                momentum=0.85,
            ),
        ),
        knobs=(),
        epochs=9.9,
        batch_size=1024,
    ).with_knob("lr", Piecewise((0.0, 0.23, 1.0), (0.2, 1.0, 0.07))),
)

AIRBENCH94 = AIRNET.then(
    "airbench94",
    Translate(2),
    AlternatingFlip(),
    DiracInit(),
    LabelSmoothing(0.2),
    whitening(bias_until=144 / 476),  # 3 epochs of 48 steps
    NormBiasRate(64.0),
    Lookahead(),
    MultiCropTta(),
    Set("net.stem_bias_init", "zero"),
    summary="94.01% in 9.9 epochs with SGD; 3.83 s on an A100 as published",
)

MUON94 = AIRBENCH94.then(
    "muon94",
    Set("batch_size", 2000),
    whitening(bias_until=3 / 8),
    UnitHead(),
    Muon(),
    Set("net.stem_bias_init", "uniform"),
    without=("norm-bias-rate", "lookahead"),
    summary="94.01% in 8 epochs and 200 steps with Muon; 2.59 s on an A100 as published",
    epochs=8.0,
)

AIRBENCH95 = AIRBENCH94.then(
    "airbench95",
    Widths((128, 384, 384)),
    *rates(10.0, 0.0153),
    whitening(bias_until=3 / 15),
    summary="95.01% in 15 epochs; 10.4 s on an A100 as published",
    epochs=15.0,
    target=95.0,
)

AIRBENCH96 = AIRBENCH95.then(
    "airbench96",
    Widths((128, 384, 512)),
    DeepGroups(depth=3, residual="before_act"),
    Translate(4),
    Cutout(12),
    FastNormStatistics(0.1),
    OneCycle(peak_at=0.1, first=0.2, at="start"),
    *rates(9.0, 0.012),
    whitening(bias_until=3 / 37),
    summary="96.03% in 37 epochs: wider, deeper, cutout; 34.7 s on an A100 as published",
    epochs=37.0,
    target=96.0,
)

# The published code means to freeze the whitening's bias after 3 epochs, and by a slip never does. Its
# batches run on from one epoch into the next; ours leave an epoch's last images out.
AIRBENCH96_FASTER = AIRBENCH96.then(
    "airbench96-faster",
    whitening(bias_until=1.0),
    HardExamples(of=1024, every=4, widths=(32, 64, 64), bias=False, rule="none"),
    *rates(9.0, 0.012, batch=512),
    summary="96.00% in 45 epochs of the harder half; 27.3 s on an A100 as published",
    epochs=45.0,
)

# hlb quotes its rate and decay for half of the summed loss, at 1024 examples. Simplified: it adds the
# identity to a group's first filters and rescales them, ours start as the identity; it averages from the
# third epoch on, ours from the first, where that does next to nothing.
HLB = AIRNET.then(
    "hlb",
    Widths((64, 256, 512)),
    Translate(2),
    RandomFlip(),
    Cutmix(pixels=3, start=6.1 / 12.1),
    DiracInit(),
    LabelSmoothing(0.2),
    PatchWhitening(kernel=2, signs=2, bias=False, pointwise=False, eps=1e-2, images=50_000, padding=0),
    OneCycle(peak_at=0.23, first=0.0, last=0.07, at="start"),
    Set("rules.weights.lr", 1.525),
    Set("rules.weights.weight_decay", 2 * 6.687e-4),
    NormBiasRate(64.0),
    Lookahead(),
    FlipTta(),
    summary="hlb-CIFAR10 0.7: 94% in 12.1 epochs; 6.3 s on an A100 as published",
    epochs=12.1,
)

HIVERGE_MUON = Muon(
    lr=0.205,
    momentum=0.655,
    bias_lr=0.0573,
    head_lr=0.5415,
    sgd_momentum=0.825,
    decay_per_example=1.0418e-6,
    coefficients=(3.4576, -4.7391, 2.0843),
    reset_first=2,
    reset_last=17,
    filter_decay_per_example=1.0418e-6,
)

HIVERGE94 = MUON94.then(
    "hiverge94",
    Set("batch_size", 1536),
    Silu(),
    LabelSmoothing(0.09),
    ColorJitter(0.1399, 0.1308),
    FastNormStatistics(1 - 0.5566),
    whitening(bias_until=7 / 243, images=960),  # 0.19 epochs of 32 steps, rounded up
    Set("net.stem_activation", "gelu"),  # only the groups have SiLU
    HIVERGE_MUON,
    MultiCropTta(even=True),
    UncertainTta(0.25),
    summary="94.01% in 7.59 epochs: SiLU, jitter, fewer resets, selective TTA; 2.0 s on an A100 as published",
    epochs=7.59,
)

AIDDA100 = MUON94.then(
    "aidda100",
    Set("batch_size", 1024),
    Widths((64, 256, 768)),
    DeepGroups(
        depth=3,
        residual="after_act",
        middle=(64, 192, 512),
        kernels=(3, 1, 1, 3, 3, 1, 2, 3, 3),
        pool="max_plus_mean",
    ),
    Silu(),
    LabelSmoothing(0.25),
    ProgressiveResolution((0.15, 0.5), (0.625, 0.75)),
    FastNormStatistics(0.1),
    whitening(bias_until=1.0),
    Muon(lr=0.18, bias_lr=1.38 / 1024, head_lr=1.38 / 1024, sgd_momentum=0.9, decay_per_example=0.0),
    OneCycle(peak_at=0.25, at="start"),
    LogitScale(1.25 / 9),
    Set("net.stem_bias_init", "zero"),
    Set("net.norm.eps", 1e-5),
    Set("net.norm.scale", True),
    Set("rules.head.weight_decay", 5e-4 * 1024),
    Set("rules.stem.lr_knob", "lr"),
    without=("multi-crop-tta", "unit-head"),
    summary="CIFAR-100: 75% from a single view in 8.75 epochs, resized; 3.5 s on an A100 as reported",
    data="cifar100",
    epochs=8.75,
    target=75.0,
)

RECIPES = (AIRNET, HLB, AIRBENCH94, AIRBENCH95, AIRBENCH96, AIRBENCH96_FASTER, MUON94, HIVERGE94, AIDDA100)
