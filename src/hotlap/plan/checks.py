"""Whether a plan can run on such data, said before anything is built."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hotlap.data.augment import ColorJitter, Cutmix, Cutout, Flip, Mixup, Translate
from hotlap.data.loading import HostLoader, sides
from hotlap.errors import UserError
from hotlap.nets import Net
from hotlap.nets.describe import check_net
from hotlap.optim import Lookahead
from hotlap.plan.flat import kind_of
from hotlap.plan.plan import HardExamples, HighestLoss, Plan, Shuffle
from hotlap.plan.start import FittedHead
from hotlap.spec import DataSpec


def check_plan(plan: Plan, spec: DataSpec) -> None:
    """Whether `plan` can run on data like `spec`.

    Raises:
        UserError: naming the first slot that cannot, and the mend.
    """
    check_budget(plan, spec)
    check_sizes(plan, plan.net, spec, "net")
    if plan.batch_size % plan.net.norm.splits:
        raise UserError(
            f"a batch of {plan.batch_size} does not divide into net.norm.splits = {plan.net.norm.splits};"
            " set one so that it does"
        )
    if not 0 <= plan.loss.smoothing < 1:
        raise UserError(f"loss.smoothing = {plan.loss.smoothing:g}; give a number from 0 to below 1")
    check_augment(plan, spec)
    check_loading(plan, spec)
    check_rules(plan)


def check_budget(plan: Plan, spec: DataSpec) -> None:
    if not 0 < plan.batch_size <= spec.train_count:
        raise UserError(
            f"batch_size = {plan.batch_size} with {spec.train_count} training images;"
            " --set batch_size to between 1 and that"
        )
    fitted = isinstance(plan.head, FittedHead)
    if not 0 <= plan.epochs < float("inf") or not (plan.epochs or fitted):
        raise UserError(f"epochs = {plan.epochs:g}; give a number above 0{', or 0' if fitted else ''}")
    if not 0 < plan.evaluation.share <= 1:
        raise UserError(f"evaluation.share = {plan.evaluation.share:g}; give a share above 0, up to 1")
    shares, scales = plan.resolution.until, plan.resolution.scale
    if len(shares) != len(scales) or not all(a < b for a, b in pairwise((0.0, *shares, 1.0000001))):
        raise UserError(
            f"resolution.until = {list(shares)}, resolution.scale = {list(scales)};"
            " give as many of each, and shares that increase from above 0 to 1"
        )
    if any(not 0 < s <= 1 for s in scales):
        raise UserError(f"resolution.scale = {list(scales)}; give shares of the side, above 0 up to 1")
    if any(not 0 <= f <= 1 for f in plan.freeze):
        raise UserError(f"freeze = {list(plan.freeze)}; give shares of the run, 0 to 1")


def check_sizes(plan: Plan, net: Net, spec: DataSpec, name: str) -> None:
    """Whether the net under the key `name` can be built for all images of the run, the small ones too."""
    check_net(net, spec, name=name)
    for scale in plan.resolution.scale:
        height, width = sides(spec.height, spec.width, scale)
        check_net(net, replace(spec, shape=(spec.channels, height, width)), "resolution.scale", name)


def check_augment(plan: Plan, spec: DataSpec) -> None:
    smaller = min(spec.height, spec.width)
    for op in plan.augment:
        name = f"augment.{type(op).__name__.lower()}"
        if isinstance(op, Translate) and not 0 <= op.pixels < smaller:
            raise UserError(
                f"{name}.pixels = {op.pixels} on images of {spec.height}x{spec.width};"
                " give less than the smaller side"
            )
        if isinstance(op, Cutout | Cutmix) and not 1 <= op.pixels <= smaller:
            raise UserError(
                f"{name}.pixels = {op.pixels} on images of {spec.height}x{spec.width};"
                " give 1 up to the smaller side"
            )
        if isinstance(op, ColorJitter) and not (op.brightness >= 0 and op.contrast >= 0):
            raise UserError(
                f"{name}: brightness = {op.brightness:g}, contrast = {op.contrast:g}; give 0 or more"
            )
        if isinstance(op, Mixup) and not op.alpha > 0:
            raise UserError(f"{name}.alpha = {op.alpha:g}; give a number above 0")
        if isinstance(op, Mixup | Cutmix) and not 0 <= op.start <= 1:
            raise UserError(f"{name}.start = {op.start:g}; give a share of the run, 0 to 1")


def check_loading(plan: Plan, spec: DataSpec) -> None:
    loader, sampler = plan.loader, plan.sampler
    if isinstance(loader, HostLoader):
        if loader.workers < 0:
            raise UserError(f"loader.workers = {loader.workers}; give 0 or more")
        if not isinstance(sampler, Shuffle):
            raise UserError(
                f"sampler.kind = '{kind_of(type(sampler))}' reads from the device; set loader.kind ="
                " 'deviceloader'"
            )
        drawn = [
            op for op in plan.augment if isinstance(op, Flip | Translate | Cutout) and op.mode != "random"
        ]
        if loader.random == "example" and drawn:
            name = type(drawn[0]).__name__.lower()
            raise UserError(
                f"augment.{name}.mode = {drawn[0].mode!r} is drawn for the whole set at once;"
                " set it to 'random', or loader.random = 'bulk'"
            )
    if isinstance(sampler, HardExamples):
        if not plan.batch_size <= sampler.of <= spec.train_count:
            raise UserError(
                f"sampler.of = {sampler.of} with batches of {plan.batch_size} and {spec.train_count} training"
                " images; set it to between those two"
            )
        if sampler.every < 1:
            raise UserError(f"sampler.every = {sampler.every}; give 1 or more")
        check_sizes(plan, sampler.net, spec, "sampler.net")
    if isinstance(sampler, HighestLoss):
        if sampler.full < 1:
            raise UserError(f"sampler.full = {sampler.full}; give 1 or more passes over all images")
        if not plan.batch_size <= sampler.share * spec.train_count <= spec.train_count:
            raise UserError(
                f"sampler.share = {sampler.share:g} of {spec.train_count} training images, in batches of"
                f" {plan.batch_size}; give a share that fills a batch, and at most 1"
            )


def check_rules(plan: Plan) -> None:
    for rule in plan.rules:
        plan.knob(rule.lr_knob, f"rules.{rule.name}.lr_knob")
        if not 0 <= rule.momentum < 1:
            raise UserError(f"rules.{rule.name}.momentum = {rule.momentum:g}; give 0 to below 1")
        if not 0 < rule.until <= 1:
            raise UserError(
                f"rules.{rule.name}.until = {rule.until:g}; give a share of the run, above 0 to 1"
            )
    for average in plan.after:
        name = f"after.{type(average).__name__.lower()}"
        if average.every < 1:
            raise UserError(f"{name}.every = {average.every}; give a whole number of steps, 1 or more")
        if isinstance(average, Lookahead):
            plan.knob(average.knob, f"{name}.knob")
        elif not 0 <= average.decay < 1:
            raise UserError(f"{name}.decay = {average.decay:g}; give 0 to below 1")
    claimed = [role for rule in plan.rules for role in rule.roles]
    for role in [r for r in claimed if claimed.count(r) > 1]:
        raise UserError(f"rules: the role {role!r} is claimed by more than one rule; leave it in one")
    if plan.evaluation.weights == "ema" and not any(hasattr(a, "decay") for a in plan.after):
        raise UserError("evaluation.weights = 'ema' but no EMA is kept; --with ema, or set it to 'final'")
