"""The plan: one frozen value that says everything about a training run, and the trick protocol.

A plan has slots; a trick is a function from plan to plan that declares which slots it touches. Plans
know nothing of recipes, data sets or devices; `hotlap.program` lowers one onto a data set and a device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from hotlap.data.augment import Augmentation, Translate
from hotlap.errors import UserError, did_you_mean
from hotlap.nets import Net, ResNet9
from hotlap.nets.describe import Role, check_net
from hotlap.numerics import Numerics
from hotlap.optim import SGD, Average, Lookahead, Rule
from hotlap.schedule import Piecewise, Schedule
from hotlap.spec import DataSpec


@dataclass(frozen=True)
class CrossEntropy:
    """Cross entropy of each example, summed over the batch.

    Args:
        smoothing: the share of the target spread evenly over all classes, 0 to 1.
    """

    smoothing: float = 0.0


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
            pixel up-left and down-right (a quarter each).
    """

    weights: Literal["final", "ema"] = "final"
    tta: Literal["none", "flip", "flip_translate"] = "none"


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
        augment: geometry of the training images, applied in sequence.
        net: what is trained.
        loss: what is minimised.
        rules: which parameters get which optimizer and peak values; each role in exactly one rule.
        knobs: what scales those values in time.
        after: averages updated after a step.
        evaluation: weights and views of the final evaluation.
        numerics: precision, layout, compilation.
        epochs: passes over the training set; a fraction is allowed.
        batch_size: images a step; the last images of an epoch that do not fill a batch are left out.
        target: test accuracy in percent that the recipe aims at.
    """

    augment: tuple[Augmentation, ...] = ()
    net: Net = ResNet9()
    loss: CrossEntropy = CrossEntropy()
    rules: tuple[Rule, ...] = (BASE_RULE,)
    knobs: tuple[Knob, ...] = (Knob("lr", Piecewise((0.0, 0.2, 1.0), (0.0, 1.0, 0.0), at="end")),)
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

        The new rule is a copy with `values` replaced. A rule left without roles goes.
        """
        holder = next((r for r in self.rules if set(roles) <= set(r.roles)), None)
        if holder is None:
            raise UserError(f"rule {name!r}: no single rule holds the roles {', '.join(roles)}")
        kept = tuple(r for r in holder.roles if r not in roles)
        left = () if not kept else (replace(holder, roles=kept),)
        others = tuple(r for r in self.rules if r is not holder)
        made = replace(holder, name=name, roles=roles, **values)  # type: ignore[arg-type]
        return replace(self, rules=tuple(sorted((*others, *left, made), key=lambda r: r.name)))

    def check(self, spec: DataSpec) -> None:
        """Whether this plan can run on such data.

        Raises:
            UserError: naming the first slot that cannot, and the mend.
        """
        if not 0 < self.batch_size <= spec.train_count:
            raise UserError(
                f"batch_size = {self.batch_size} with {spec.train_count} training images;"
                " --set batch_size to between 1 and that"
            )
        if not 0 < self.epochs < float("inf"):
            raise UserError(f"epochs = {self.epochs:g}; give a number above 0")
        check_net(self.net, spec)
        if self.batch_size % self.net.norm.splits:
            raise UserError(
                f"a batch of {self.batch_size} does not divide into net.norm.splits = {self.net.norm.splits};"
                " set one so that it does"
            )
        if not 0 <= self.loss.smoothing < 1:
            raise UserError(f"loss.smoothing = {self.loss.smoothing:g}; give a number from 0 to below 1")
        for op in self.augment:
            if isinstance(op, Translate) and not 0 <= op.pixels < min(spec.height, spec.width):
                raise UserError(
                    f"augment.translate.pixels = {op.pixels} on images of {spec.height}x{spec.width};"
                    " give less than the smaller side"
                )
        for rule in self.rules:
            self.knob(rule.lr_knob, f"rules.{rule.name}.lr_knob")
            if not 0 <= rule.momentum < 1:
                raise UserError(f"rules.{rule.name}.momentum = {rule.momentum:g}; give 0 to below 1")
            if not 0 < rule.until <= 1:
                raise UserError(
                    f"rules.{rule.name}.until = {rule.until:g}; give a share of the run, above 0 to 1"
                )
        for average in self.after:
            if average.every < 1:
                raise UserError(f"after: every = {average.every}; give a whole number of steps, 1 or more")
            if isinstance(average, Lookahead):
                self.knob(average.knob, "after.lookahead.knob")
        claimed = [role for rule in self.rules for role in rule.roles]
        for role in {r for r in claimed if claimed.count(r) > 1}:
            raise UserError(f"rules: the role {role!r} is claimed by more than one rule; leave it in one")
        if self.evaluation.weights == "ema" and not any(hasattr(a, "decay") for a in self.after):
            raise UserError("evaluation.weights = 'ema' but no EMA is kept; --with ema, or set it to 'final'")


@dataclass(frozen=True)
class Trick(ABC):
    """A change to a plan, made once, before training. Subclasses are frozen dataclasses, one a file.

    The class docstring is the trick's card: the idea in its first line, then the maths and when to use it.

    Class attributes:
        touches: prefixes of the flat plan keys this trick may change; the laws hold it to them.
        source: where the idea comes from.
        effect: what to expect, with the source's figure.
        after: names of tricks that must come before this one if both are used.
        excludes: names of tricks that cannot be used together with this one.
    """

    touches: ClassVar[tuple[str, ...]]
    source: ClassVar[str]
    effect: ClassVar[str]
    after: ClassVar[tuple[str, ...]] = ()
    excludes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __call__(self, plan: Plan) -> Plan:
        """The changed plan."""

    @property
    def name(self) -> str:
        """The trick's name: its module's, with dashes."""
        return trick_name(type(self))


def trick_name(cls: type[Trick]) -> str:
    return cls.__module__.rpartition(".")[2].replace("_", "-")
