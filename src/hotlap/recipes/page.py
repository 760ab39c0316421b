"""The recipes of "How to Train Your ResNet" (Page, 2018-2019): every rung is a small diff of another.

Rates are quoted for the batch mean and multiplied by the batch in the step's sum: Page's own way. The
published times and accuracies of the rungs are in `hotlap.recipes.published`. An epoch's last images that
do not fill a batch are left out, as in his submissions; the notebook of posts 1 to 4 trains on them too.
"""

from __future__ import annotations

from hotlap.nets import Norm, ResNet18
from hotlap.plan import Plan
from hotlap.plan.recipe import Recipe, Set
from hotlap.plan.schedule import Piecewise
from hotlap.tricks.backbone import Backbone
from hotlap.tricks.batch_size import BatchSize
from hotlap.tricks.bulk_random import BulkRandom
from hotlap.tricks.celu import Celu
from hotlap.tricks.cutout import Cutout
from hotlap.tricks.device_loading import DeviceLoading
from hotlap.tricks.down_sampling import DownSampling
from hotlap.tricks.ema import Ema
from hotlap.tricks.extra_layers import ExtraLayers
from hotlap.tricks.flip_tta import FlipTta
from hotlap.tricks.frozen_scales import FrozenScales
from hotlap.tricks.ghost_norm import GhostNorm
from hotlap.tricks.global_max_pool import GlobalMaxPool
from hotlap.tricks.half_precision import HalfPrecision
from hotlap.tricks.host_loading import HostLoading
from hotlap.tricks.kinked_schedule import KinkedSchedule
from hotlap.tricks.label_smoothing import LabelSmoothing
from hotlap.tricks.main_thread_loading import MainThreadLoading
from hotlap.tricks.one_cycle import OneCycle
from hotlap.tricks.patch_whitening import PatchWhitening
from hotlap.tricks.piecewise_schedule import PiecewiseSchedule
from hotlap.tricks.pool_before_norm import PoolBeforeNorm
from hotlap.tricks.preprocess_once import PreprocessOnce
from hotlap.tricks.random_flip import RandomFlip
from hotlap.tricks.residuals import Residuals
from hotlap.tricks.single_norm import SingleNorm
from hotlap.tricks.tidy_stem import TidyStem
from hotlap.tricks.translate import Translate
from hotlap.tricks.unit_norm_scales import UnitNormScales
from hotlap.tricks.widths import Widths

LR = "rules.weights.lr"  # until frozen scales give the norms' shifts a rule of their own, all weights'

RESNET9 = Recipe(
    "resnet9",
    "Page's nine-layer net with crops and flips: a plain start for tricks of your own",
    Plan(),
    (Translate(4, "balanced"), RandomFlip("balanced")),
)

RESNET18 = Recipe(
    "resnet18",
    "the pre-activation ResNet-18 the series starts from, loaded on the device",
    Plan(net=ResNet18(stem_norm=False), epochs=35.0, batch_size=128).with_knob(
        "lr", Piecewise((0.0, 15 / 35, 30 / 35, 1.0), (0.0, 1.0, 0.05, 0.0), at="end")
    ),
    (Translate(4, "balanced"), RandomFlip("balanced"), Set(LR, 0.1)),
)

# posts 1 to 3: the same net, loaded and trained better

R01 = Recipe(
    "page/01-baseline",
    "post 1: the DAWNBench entry of Johnson: ResNet-18, half precision, every image prepared in Python",
    Plan(net=ResNet18(norm=Norm(scale_init="uniform")), epochs=35.0, batch_size=128),
    (
        HostLoading(preprocess="epoch", random="example", workers=1),
        HalfPrecision(norms="half"),
        Translate(4),
        RandomFlip(),
        KinkedSchedule(),
        Set(LR, 0.1),
    ),
)
R02 = R01.then(
    "page/02-tidy-stem-and-schedule",
    TidyStem(),
    PiecewiseSchedule(),
    without=("kinked-schedule",),
    summary="post 1: no norm and ReLU twice after the first convolution, no kink in the rate",
)
R03 = R02.then(
    "page/03-preprocess-once",
    PreprocessOnce(),
    summary="post 1: normalise, transpose and pad the set once, not every epoch",
)
R04 = R03.then(
    "page/04-bulk-random-numbers",
    BulkRandom(),
    summary="post 1: random numbers drawn once an epoch, not for each image",
)
R05 = R04.then(
    "page/05-main-thread-augmentation",
    MainThreadLoading(),
    summary="post 1: no loader processes",
)
R06 = R05.then(
    "page/06-larger-batch",
    BatchSize(512, "none"),  # the rates of these rungs are given outright, as Page has them
    Set(LR, 0.44),
    PiecewiseSchedule(values=(0.0, 1.0, 0.005 / 0.44, 0.0)),
    summary="post 2: batches of 512 instead of 128, the rate with them",
)
R07 = R06.then(
    "page/07-norm-in-fp32",
    HalfPrecision(norms="fp32"),
    summary="post 3: batch norm's parameters and statistics in single precision",
)
R08 = R07.then(
    "page/08-cutout-earlier-peak",
    Cutout(8),
    OneCycle(peak_at=8 / 30),
    Set(LR, 0.4),
    without=("piecewise-schedule",),
    summary="post 3: 8x8 cutout and an earlier peak of the rate, five epochs fewer",
    epochs=30.0,
)
R09 = R08.then(
    "page/09-batch-768",
    BatchSize(768, "none"),
    Set(LR, 0.6),
    summary="post 3: batches of 768",
)

# post 4: the net taken apart and put together again

A1 = R08.then(
    "page/a1-backbone",
    Backbone(),
    OneCycle(peak_at=4 / 20),
    summary="post 4: the shortest path through the net alone",
    epochs=20.0,
)
A2 = A1.then("page/a2-no-repeated-norm", SingleNorm(), summary="post 4: one norm and ReLU a convolution")
A3 = A2.then(
    "page/a3-3x3-down-sampling",
    DownSampling("stride_3x3"),
    summary="post 4: 3x3 instead of 1x1 convolutions of stride 2",
)
A4 = A3.then(
    "page/a4-max-pool-down-sampling",
    DownSampling("pool"),
    summary="post 4: stride 1 and a 2x2 max pool",
)
A5 = A4.then(
    "page/a5-final-width-global-max-pool",
    Widths((64, 128, 256, 512)),
    GlobalMaxPool(),
    summary="post 4: 512 channels at the end, one global max pool",
)
A6 = A5.then(
    "page/a6-unit-norm-scales",
    UnitNormScales(),
    summary="post 4: norm scales start at 1, logits times 1/8",
)
A7 = A6.then(
    "page/a7-residuals",
    Residuals(("layer1", "layer3")),
    summary="post 4: residuals on the first and last layer",
)
A8 = A6.then(
    "page/a8-double-width",
    Widths((128, 256, 512, 1024)),
    OneCycle(peak_at=12 / 60),
    summary="post 4, aside: width instead of depth, 60 epochs",
    epochs=60.0,
)
A9 = A6.then(
    "page/a9-extra-layers",
    ExtraLayers(),
    Cutout(12),
    OneCycle(peak_at=12 / 60),
    summary="post 4, aside: one more convolution in each layer, 60 epochs, 95%",
    epochs=60.0,
)
R10 = A7.then(
    "page/10-resnet9",
    OneCycle(peak_at=5 / 24),
    summary="post 4: the nine-layer net, 94% in 24 epochs",
    epochs=24.0,
)

# post 8: the bag of tricks

R11 = R10.then(
    "page/11-device-augmentation",
    DeviceLoading(),
    Translate(4, "balanced"),
    RandomFlip("balanced"),
    Cutout(8, "balanced"),
    without=(
        "host-loading",
        "preprocess-once",
        "bulk-random",
        "main-thread-loading",
    ),
    summary="post 8: the set on the device, preprocessed and augmented there",
)
R12 = R11.then(
    "page/12-pool-before-norm",
    PoolBeforeNorm(),
    OneCycle(peak_at=0.2),
    summary="post 8: max pool before the norm, one epoch more",
    epochs=25.0,
)
R13 = R12.then(
    "page/13-label-smoothing",
    LabelSmoothing(0.2),
    summary="post 8: label smoothing, two epochs fewer",
    epochs=23.0,
)
R14 = R13.then("page/14-celu", Celu(0.075), summary="post 8: CELU, three epochs fewer", epochs=20.0)
R15 = R14.then(
    "page/15-ghost-norm",
    GhostNorm(16),
    Set(LR, 0.6),
    summary="post 8: norm statistics over 32 examples, a higher rate, two epochs fewer",
    epochs=18.0,
)
R16 = R15.then(
    "page/16-frozen-scales",
    FrozenScales(),
    summary="post 8: norm scales fixed, their shifts learning faster, one epoch fewer",
    epochs=17.0,
)
R17 = R16.then(
    "page/17-patch-whitening",
    PatchWhitening(),
    Cutout(5, "balanced"),
    Set(LR, 1.0),
    summary="post 8: whitened input patches, a higher rate, less cutout, three epochs fewer",
    epochs=14.0,
)
R18 = R17.then(
    "page/18-ema",
    Ema(floor_from=11 / 13),
    without=("one-cycle",),
    summary="post 8: weights averaged over the last epoch, one epoch fewer",
    epochs=13.0,
)
R19 = R18.then(
    "page/19-flip-tta",
    Ema(floor_from=0.8),
    FlipTta(),
    without=("cutout",),
    summary="the end of the series: 94.1% in 10 epochs, 26 s on a V100",
    epochs=10.0,
)
R20 = R19.then(
    "page/20-convergence",
    Cutout(12, "balanced"),
    Ema(floor_from=78 / 80),
    Set(LR, 0.4),
    summary="post 8, last: the same net and tricks over 80 epochs with more cutout, 96%",
    epochs=80.0,
    target=96.0,
)

SERIES = (
    *(R01, R02, R03, R04, R05, R06, R07, R08, R09),
    *(A1, A2, A3, A4, A5, A6, A7, A8, A9),
    *(R10, R11, R12, R13, R14, R15, R16, R17, R18, R19, R20),
)
RECIPES = (RESNET18, RESNET9, *SERIES)
