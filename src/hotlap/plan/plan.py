"""The plan: one frozen value that says everything about a training run, slot by slot.

Plans know nothing of recipes, data sets or devices; `hotlap.engine.lower` lowers one onto a data set and a
device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hotlap.data.augment import Augmentation
from hotlap.data.loading import DeviceLoader, Loader, Resolution
from hotlap.errors import UserError, did_you_mean
from hotlap.machine.numerics import Numerics
from hotlap.nets import AirNet, Net, ResNet9
from hotlap.nets.describe import Role
from hotlap.optim import SGD, Average, Rule
from hotlap.plan.schedule import Piecewise, Schedule
from hotlap.plan.start import Head, LearntHead, Scratch, Start


@dataclass(frozen=True)
class CrossEntropy:
    """Cross entropy of each example, summed over the batch.

    Args:
        smoothing: the share of the target spread evenly over all classes, 0 to 1.
        balance: what an example counts: as much as any other, or as much as its class is rare (one over the
            class's share, 1 on average over the training images).
    """

    smoothing: float = 0.0
    balance: Literal["none", "classes"] = "none"


@dataclass(frozen=True)
class Knob:
    """A named schedule. Rules scale their peak values by knobs; averages read their decay from one."""

    name: str
    schedule: Schedule


@dataclass(frozen=True)
class Evaluation:
    """How the final accuracy is measured.

    Args:
        weights: the last weights, or their moving average.
        tta: test-time augmentation: `none`; `flip` averages the logits of an image and its mirror;
            `flip_translate` averages that pair (half the weight) with the pairs of the image moved one
            pixel up-left and down-right (a quarter each); `flip_translate_even` gives all six the same.
        share: of the test images, those the single view is least certain of, that get the further views.
    """

    weights: Literal["final", "ema"] = "final"
    tta: Literal["none", "flip", "flip_translate", "flip_translate_even"] = "none"
    share: float = 1.0


@dataclass(frozen=True)
class Shuffle:
    """Every image once an epoch, in an order drawn anew each time."""


@dataclass(frozen=True)
class HardExamples:
    """Train on the examples that a small proxy net finds hardest (Jordan, airbench96_faster, 2024).

    The proxy is trained first, on batches of `of` images in the order and augmentation that the main net
    will meet. Of each batch the `batch_size` images of highest loss are kept for the main net.

    Args:
        of: images drawn a step.
        every: the proxy learns at every so many steps and only looks at the others.
        net: the proxy.
    """

    of: int = 1024
    every: int = 4
    net: AirNet = AirNet(widths=(32, 64, 64))


@dataclass(frozen=True)
class HighestLoss:
    """Leave out, pass by pass, the images that the net knows already (Jiang et al., 2019).

    The first passes take every image once. Each later one takes those whose loss was highest when they were
    last trained on: what is left out keeps its loss, and comes back as that of others falls below it.

    Args:
        full: passes over all images.
        share: of the images that a later pass takes.
    """

    full: int = 3
    share: float = 0.6


Sampler = Shuffle | HardExamples | HighestLoss


BASE_RULE = Rule(
    "weights",
    ("filter", "head_weight", "head_bias", "norm_weight", "norm_bias", "stem_bias"),
    SGD(lr_in_velocity=True, quoted_for="mean"),
    lr=0.4,
    weight_decay=5e-4,
    momentum=0.9,
)


@dataclass(frozen=True)
class Plan:
    """A training run, slot by slot.

    Args:
        augment: changes to the training images: geometry, then pixels, then mixtures, each in sequence.
        loader: where batches are prepared.
        sampler: which images, in which order.
        resolution: sides of the training images over the run.
        net: what is trained.
        start: where its weights come from.
        head: whether its classifier learns with it, or is first fitted on features of the net as it starts.
        loss: what is minimised.
        rules: which parameters get which optimizer and peak values; each role in exactly one rule.
        knobs: what scales those values in time.
        freeze: shares of the run after which the net's stages, from the input on, stop learning; at 0
            they never learn.
        after: averages updated after a step.
        evaluation: weights and views of the final evaluation.
        numerics: precision, layout, compilation.
        epochs: passes over the training set, or as many steps where some passes leave images out; a
            fraction is allowed, and 0 after a fitted head.
        batch_size: images a step; the last images of an epoch that do not fill a batch are left out.
        target: test accuracy in percent that the recipe aims at; 0 is none.
    """

    augment: tuple[Augmentation, ...] = ()
    loader: Loader = DeviceLoader()
    sampler: Sampler = Shuffle()
    resolution: Resolution = Resolution()
    net: Net = ResNet9()
    start: Start = Scratch()
    head: Head = LearntHead()
    loss: CrossEntropy = CrossEntropy()
    rules: tuple[Rule, ...] = (BASE_RULE,)
    knobs: tuple[Knob, ...] = (Knob("lr", Piecewise((0.0, 0.2, 1.0), (0.0, 1.0, 0.0), at="end")),)
    freeze: tuple[float, ...] = ()
    after: tuple[Average, ...] = ()
    evaluation: Evaluation = Evaluation()
    numerics: Numerics = Numerics()
    epochs: float = 24.0
    batch_size: int = 512
    target: float = 94.0

    def knob(self, name: str, asked_by: str) -> Schedule:
        """The schedule called `name`.

        Raises:
            UserError: if there is none, naming `asked_by`.
        """
        knobs = {k.name: k.schedule for k in self.knobs}
        if name not in knobs:
            raise UserError(f"{asked_by}: no knob called {name!r}{did_you_mean(name, knobs)}")
        return knobs[name]

    def with_knob(self, name: str, schedule: Schedule) -> Plan:
        """This plan with the knob `name` set or added."""
        others = tuple(k for k in self.knobs if k.name != name)
        return replace(self, knobs=tuple(sorted((*others, Knob(name, schedule)), key=lambda k: k.name)))

    def carve(self, name: str, *roles: Role, **values: object) -> Plan:
        """This plan with `roles` moved from the one rule that holds them to a new rule `name`.

        The new rule is a copy with `values` replaced. A rule without roles goes. UserError if none holds all.
        """
        holder = next((r for r in self.rules if set(roles) <= set(r.roles)), None)
        if holder is None:
            raise UserError(f"rule {name!r}: no single rule holds the roles {', '.join(roles)}")
        kept = tuple(r for r in holder.roles if r not in roles)
        left = () if not kept else (replace(holder, roles=kept),)
        others = tuple(r for r in self.rules if r is not holder)
        made = replace(holder, name=name, roles=roles, **values)  # type: ignore[arg-type]
        return replace(self, rules=tuple(sorted((*others, *left, made), key=lambda r: r.name)))
