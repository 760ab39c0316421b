"""The trick protocol: a function from plan to plan that declares which slots it touches."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from hotlap.plan.plan import Plan


@dataclass(frozen=True)
class Trick(ABC):
    """A change to a plan, made once, before training. Subclasses are frozen dataclasses, one a file.

    The class docstring is the trick's card: the idea in its first line, then the maths and when to use it.

    Class attributes:
        touches: prefixes of the flat plan keys this trick may change; the laws hold it to them.
        source: where the idea comes from.
        effect: what to expect, with the source's figure.
        failures: where it is known not to pay, or to break.
        after: names of tricks that must come before this one if both are used.
        excludes: names of tricks that cannot be used together with this one.
    """

    touches: ClassVar[tuple[str, ...]]
    source: ClassVar[str]
    effect: ClassVar[str]
    failures: ClassVar[str]
    after: ClassVar[tuple[str, ...]] = ()
    excludes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __call__(self, plan: Plan) -> Plan:
        """The changed plan."""

    @property
    def name(self) -> str:
        """The trick's name: its class's, in small letters with dashes."""
        return trick_name(type(self))


def trick_name(cls: type[Trick]) -> str:
    """`flip-tta` of `FlipTta`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()
