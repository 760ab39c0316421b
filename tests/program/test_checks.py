"""A plan that cannot run is refused before anything is built, in one line: the key, its value, the mend."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hotlap.data.augment import ColorJitter, Cutmix, Cutout, Flip, Mixup, Translate
from hotlap.data.loading import HostLoader, Resolution
from hotlap.errors import UserError
from hotlap.nets import AirNet, ResNet9, ResNet18, WhitenStem
from hotlap.optim import EMA, Lookahead
from hotlap.plan import CrossEntropy, Evaluation, HardExamples, HighestLoss, Plan
from hotlap.plan.checks import check_plan
from hotlap.plan.start import FittedHead
from hotlap.recipes import BUILTIN
from hotlap.spec import DataSpec

SPEC = DataSpec((3, 24, 32), ("a", "b", "c"), 1000, 100, (0.0,) * 3, (1.0,) * 3)
PLAN = Plan(batch_size=100)
PROXY = AirNet(widths=(4, 4))
NAN = float("nan")


def rule(**values: object) -> dict:
    return {"rules": tuple(replace(r, **values) for r in PLAN.rules)}


def hard(**values: object) -> dict:
    return {"sampler": replace(HardExamples(of=200, net=PROXY), **values)}


MISTAKES = [
    ({"batch_size": 0}, "batch_size = 0 with 1000 training images; --set batch_size to between 1 and that"),
    ({"batch_size": 1001}, "batch_size = 1001 with 1000 training images; --set batch_size to between"),
    ({"epochs": 0.0}, "epochs = 0; give a number above 0"),
    ({"epochs": NAN}, "epochs = nan; give a number above 0"),
    ({"epochs": float("inf")}, "epochs = inf; give a number above 0"),
    ({"evaluation": Evaluation(share=0.0)}, "evaluation.share = 0; give a share above 0, up to 1"),
    ({"evaluation": Evaluation(share=1.5)}, "evaluation.share = 1.5; give a share above 0, up to 1"),
    (
        {"evaluation": Evaluation(weights="ema")},
        "evaluation.weights = 'ema' but no EMA is kept; --with ema, or set it to 'final'",
    ),
    ({"loss": CrossEntropy(1.0)}, "loss.smoothing = 1; give a number from 0 to below 1"),
    ({"loss": CrossEntropy(NAN)}, "loss.smoothing = nan; give a number from 0 to below 1"),
    # resolution, and what is frozen
    ({"resolution": Resolution((0.5,), ())}, "resolution.until = [0.5], resolution.scale = []; give as many"),
    ({"resolution": Resolution((0.5, 0.4), (0.5, 0.75))}, "resolution.until = [0.5, 0.4], .* increase"),
    ({"resolution": Resolution((0.0,), (0.5,))}, "resolution.until = [0.0], .* increase from above 0 to 1"),
    ({"resolution": Resolution((NAN,), (0.5,))}, "resolution.until = [nan], .* increase from above 0 to 1"),
    ({"resolution": Resolution((0.5, NAN), (0.5, 0.5))}, "resolution.until = [0.5, nan], .* increase from"),
    ({"resolution": Resolution((0.5, 0.5), (0.5, 0.5))}, "resolution.until = [0.5, 0.5], .* increase from"),
    ({"resolution": Resolution((0.5,), (NAN,))}, "resolution.scale = [nan]; give shares of the side"),
    ({"resolution": Resolution((1.2,), (0.5,))}, "resolution.until = [1.2], .* increase from above 0 to 1"),
    ({"resolution": Resolution((0.5,), (0.0,))}, "resolution.scale = [0.0]; give shares of the side"),
    ({"resolution": Resolution((0.5,), (1.5,))}, "resolution.scale = [1.5]; give shares of the side"),
    (
        {"resolution": Resolution((0.5,), (0.25,))},
        "images of 6x8 are too small for this net's stem (net.stem.kernel) and 3 poolings (net.widths);"
        " raise resolution.scale",
    ),
    ({"freeze": (-0.5,)}, "freeze = [-0.5]; give shares of the run, 0 to 1"),
    ({"freeze": (NAN,)}, "freeze = [nan]; give shares of the run, 0 to 1"),
    ({"head": FittedHead(), "epochs": -1.0}, "epochs = -1; give a number above 0, or 0"),
    ({"head": FittedHead(), "epochs": NAN}, "epochs = nan; give a number above 0, or 0"),
    ({"freeze": (0.5, 1.5)}, "freeze = [0.5, 1.5]; give shares of the run, 0 to 1"),
    # augmentation
    ({"augment": (Translate(24),)}, "augment.translate.pixels = 24 on images of 24x32; give less than the"),
    ({"augment": (Translate(-1),)}, "augment.translate.pixels = -1 on images of 24x32; give less than the"),
    (
        {"augment": (Cutout(0),)},
        "augment.cutout.pixels = 0 on images of 24x32; give 1 up to the smaller side",
    ),
    ({"augment": (Cutout(25),)}, "augment.cutout.pixels = 25 on images of 24x32; give 1 up to the smaller"),
    ({"augment": (Cutmix(0),)}, "augment.cutmix.pixels = 0 on images of 24x32; give 1 up to the smaller"),
    ({"augment": (Flip(), Cutout(3), Mixup(-1.0))}, "augment.mixup.alpha = -1; give a number above 0"),
    ({"augment": (Cutmix(25),)}, "augment.cutmix.pixels = 25 on images of 24x32; give 1 up to the smaller"),
    ({"augment": (Cutmix(3, start=2.0),)}, "augment.cutmix.start = 2; give a share of the run, 0 to 1"),
    (
        {"augment": (ColorJitter(-0.1, 0.1),)},
        "augment.colorjitter: brightness = -0.1, contrast = 0.1; give 0",
    ),
    ({"augment": (ColorJitter(0.1, NAN),)}, "augment.colorjitter: brightness = 0.1, contrast = nan; give 0"),
    ({"augment": (Mixup(0.0),)}, "augment.mixup.alpha = 0; give a number above 0"),
    ({"augment": (Mixup(NAN),)}, "augment.mixup.alpha = nan; give a number above 0"),
    ({"augment": (Mixup(0.2, start=-1.0),)}, "augment.mixup.start = -1; give a share of the run, 0 to 1"),
    # loading and sampling
    ({"loader": HostLoader(workers=-1)}, "loader.workers = -1; give 0 or more"),
    (
        {"loader": HostLoader(), **hard()},
        "sampler.kind = 'hardexamples' reads from the device; set loader.kind = 'deviceloader'",
    ),
    *(
        (
            {"loader": HostLoader(random="example"), "augment": (op,)},
            f"augment.{name}.mode = {op.mode!r} is drawn for the whole set at once;"
            " set it to 'random', or loader.random = 'bulk'",
        )
        for name, op in {
            "flip": Flip("alternating"),
            "translate": Translate(2, "balanced"),
            "cutout": Cutout(4, "balanced"),
        }.items()
    ),
    (
        hard(of=99),
        "sampler.of = 99 with batches of 100 and 1000 training images; set it to between those two",
    ),
    (hard(of=1001), "sampler.of = 1001 with batches of 100 and 1000 training images; set it to between"),
    (hard(every=0), "sampler.every = 0; give 1 or more"),
    (hard(net=AirNet(widths=(4, 0))), "sampler.net.widths = [4, 0]; give one or more whole numbers"),
    (
        hard(net=AirNet(widths=(4,) * 5)),
        "images of 24x32 are too small for this net's stem (sampler.net.stem.kernel) and 5 poolings"
        " (sampler.net.widths); use larger images or fewer groups",
    ),
    (
        {**hard(net=AirNet(widths=(4,) * 4)), "resolution": Resolution((0.5,), (0.5,))},
        "images of 12x16 are too small for this net's stem (sampler.net.stem.kernel) and 4 poolings"
        " (sampler.net.widths); raise resolution.scale",
    ),
    (
        {"sampler": HighestLoss(), "loader": HostLoader()},
        "sampler.kind = 'highestloss' reads from the device; set loader.kind = 'deviceloader'",
    ),
    ({"sampler": HighestLoss(full=0)}, "sampler.full = 0; give 1 or more passes over all images"),
    (
        {"sampler": HighestLoss(share=0.0999)},
        "sampler.share = 0.0999 of 1000 training images, in batches of 100; give a share that fills a batch",
    ),
    ({"sampler": HighestLoss(share=1.01)}, "sampler.share = 1.01 of 1000 training images"),
    ({"sampler": HighestLoss(share=NAN)}, "sampler.share = nan of 1000 training images"),
    # the net
    ({"net": ResNet9(widths=(4, 4, 4, -4))}, "net.widths = [4, 4, 4, -4]; give one or more whole numbers"),
    ({"net": ResNet9(residual=("layer4",))}, "net.residual: no layer 'layer4'; did you mean 'layer3'?"),
    ({"net": ResNet9(extra=("layer0",))}, "net.extra: no layer 'layer0'; did you mean 'layer3'?"),
    ({"net": ResNet9(norm_repeats=(1, 0, 1, 1))}, "net.norm_repeats[1] = 0; give 1 or more"),
    ({"net": ResNet9(stem=WhitenStem(kernel=0))}, "net.stem.kernel = 0; give 1 or more"),
    ({"net": ResNet9(stem=WhitenStem(images=0))}, "net.stem.images = 0; give 1 or more"),
    ({"net": AirNet(depth=0)}, "net.depth = 0; give 1 or more"),
    (
        {"net": AirNet(middle=(4, 4))},
        "net.middle has 2 values and net.kernels 0; give none, or 3 (one a group)",
    ),
    (
        {"net": AirNet(kernels=(3,) * 5)},
        "net.middle has 0 values and net.kernels 5; give none, or 3 .* and 6 ",
    ),
    ({"net": AirNet(kernels=(3, 3, 3, 3, 3, 0))}, "net.kernels[5] = 0; give 1 or more"),
    (
        {"net": AirNet(depth=1, residual="before_act")},
        "net.residual = 'before_act' with net.depth = 1; give a depth of 2 or more",
    ),
    (
        {"net": ResNet18(norm=replace(ResNet18().norm, splits=3))},
        "a batch of 100 does not divide into net.norm.splits = 3; set one so that it does",
    ),
    (
        {"net": ResNet18(norm=replace(ResNet18().norm, momentum=1.5))},
        "net.norm.eps = 1e-05, net.norm.momentum = 1.5; give an eps of 0 or more and a momentum from 0 to 1",
    ),
    # rules and averages
    (rule(momentum=1.0), "rules.weights.momentum = 1; give 0 to below 1"),
    (rule(momentum=-0.1), "rules.weights.momentum = -0.1; give 0 to below 1"),
    (rule(momentum=NAN), "rules.weights.momentum = nan; give 0 to below 1"),
    (rule(until=1.01), "rules.weights.until = 1.01; give a share of the run, above 0 to 1"),
    (rule(until=0.0), "rules.weights.until = 0; give a share of the run, above 0 to 1"),
    (rule(lr_knob="lrr"), "rules.weights.lr_knob: no knob called 'lrr'; did you mean 'lr'?"),
    ({"rules": PLAN.rules * 2}, "rules: the role 'filter' is claimed by more than one rule; leave it in one"),
    ({"after": (EMA(every=0),)}, "after.ema.every = 0; give a whole number of steps, 1 or more"),
    ({"after": (EMA(decay=1.5),)}, "after.ema.decay = 1.5; give 0 to below 1"),
    ({"after": (EMA(decay=1.0),)}, "after.ema.decay = 1; give 0 to below 1"),
    ({"after": (EMA(decay=-0.1),)}, "after.ema.decay = -0.1; give 0 to below 1"),
    (
        {"after": (Lookahead("lr"),), "evaluation": Evaluation(weights="ema")},
        "evaluation.weights = 'ema' but no EMA is kept",
    ),
    ({"after": (EMA(), Lookahead("lr", every=0))}, "after.lookahead.every = 0; give a whole number of steps"),
    ({"after": (Lookahead(),)}, "after.lookahead.knob: no knob called 'lookahead'"),
]


@pytest.mark.parametrize(("changes", "words"), MISTAKES, ids=[words[:60] for _, words in MISTAKES])
def test_a_plan_that_cannot_run_is_refused(changes, words):
    with pytest.raises(UserError) as caught:
        check_plan(replace(PLAN, **changes), SPEC)
    message = str(caught.value)
    at = 0
    for part in words.split(".*"):  # in this order, the first of them at the start
        found = message.find(part, at)
        assert found == 0 if at == 0 else found > 0, message
        at = found + len(part)
    assert "\n" not in message


def test_plans_that_can_run_are_not():
    check_plan(PLAN, SPEC)
    for changes in (
        hard(),
        hard(of=1000, every=1),
        {"resolution": Resolution((0.5, 1.0), (0.5, 1.0)), "freeze": (1.0, 0.5)},
        {"augment": (Translate(23), Cutout(24), Cutmix(24, 1.0), Mixup(1e-3), ColorJitter(0.0, 0.0))},
        {"loader": HostLoader(random="bulk"), "augment": (Flip("alternating"), Translate(2, "balanced"))},
        {"loader": HostLoader(random="example", workers=3), "augment": (Flip(), Translate(2), Cutout(2))},
        {"evaluation": Evaluation(weights="ema"), "after": (EMA(),)},
        # the least and the most of everything
        {"batch_size": 1000, "epochs": 1e-9, "loss": CrossEntropy(0.0), "freeze": (0.0, 1.0)},
        {"batch_size": 1, "evaluation": Evaluation(share=1.0), "loss": CrossEntropy(0.999)},
        {"head": FittedHead(), "epochs": 0.0},
        {"head": FittedHead(), "epochs": 2.0},
        {"augment": (Translate(0), Cutout(1), Cutmix(1, 0.0), Mixup(1e-9, 1.0))},
        {"loader": HostLoader(workers=0), "augment": (Flip("balanced"),)},
        hard(of=100, every=1),
        {"sampler": HighestLoss(full=1, share=1.0)},
        {"sampler": HighestLoss(full=1, share=0.1)},
        rule(momentum=0.0, until=1.0),
        rule(momentum=0.999, until=1e-9),
        {"after": (EMA(decay=0.0, every=1), Lookahead("lr", every=1))},
    ):
        check_plan(replace(PLAN, **changes), SPEC)


@pytest.mark.parametrize("name", BUILTIN)
def test_no_recipe_is_refused_on_the_data_it_was_made_for(name):
    shape = (3, 32, 32)
    classes = 100 if BUILTIN[name].data == "cifar100" else 10
    names = tuple(map(str, range(classes)))
    check_plan(BUILTIN[name].plan(), DataSpec(shape, names, 10_000, 2_000, (0.0,) * 3, (1.0,) * 3))
