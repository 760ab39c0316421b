"""A net as a value: its layers, what each reads and makes, what it costs. Without torch.

`hotlap.inspect.outline` makes one of a net that is built; what reads it are tables and pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any, Literal

Against = Literal["same", "moved", "changed", "new"]


@dataclass(frozen=True)
class Layer:
    """A module of a net without modules of its own, or a function that the net calls between them.

    Args:
        name: its path in the net, without the body's: `layer1.residual.branch.0.conv`.
        kind: what it is: `conv`, `norm`, `act`, `pool`, `add` and so on.
        label: in a word or two, for pictures.
        told: what there is to tell of it beside its kind.
        settings: everything that it was built with, by name, as text.
        shape: of what it makes of one image: (C, H, W), or (F,) of features.
        parameters, fixed: how many of its numbers learn; how many are weights that do not.
        products: multiply-adds for one image, as `hotlap.inspect.cost` counts them.
        inputs: names of the layers that it reads, in its own sequence; none reads the image.
        against: how it stands to the net it is compared with: see `hotlap.nets.compare`.
        was: what differs, in words.
        count: how many layers it stands for, in an outline that was `folded`.
    """

    name: str
    kind: str
    label: str
    told: str
    settings: Mapping[str, str]
    shape: tuple[int, ...]
    parameters: int
    fixed: int
    products: int
    inputs: tuple[str, ...]
    against: Against = "same"
    was: str = ""
    count: int = 1

    @property
    def size(self) -> str:
        """The shape in words: `64 x 32 x 32`."""
        return " x ".join(map(str, self.shape))


@dataclass(frozen=True)
class Stage:
    """A part of a net with weights, and the layers after it that belong to none: `stem`, `layer1`, `head`."""

    name: str
    layers: tuple[Layer, ...]

    @property
    def products(self) -> int:
        return sum(layer.products for layer in self.layers)


@dataclass(frozen=True)
class Outline:
    """A net's layers in the sequence in which it runs them.

    Args:
        shape: of one image, (C, H, W).
        layers: at least one.
        base: what it is compared with; empty if with nothing.
        gone: the layers of the base that are not in it.
    """

    shape: tuple[int, int, int]
    layers: tuple[Layer, ...]
    base: str = ""
    gone: tuple[Layer, ...] = field(default=())

    @property
    def classes(self) -> int:
        return self.layers[-1].shape[0]

    @property
    def parameters(self) -> int:
        """How many learn."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def fixed(self) -> int:
        """Weights that do not learn."""
        return sum(layer.fixed for layer in self.layers)

    @property
    def products(self) -> int:
        """Multiply-adds of one image's forward pass."""
        return sum(layer.products for layer in self.layers)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The layers by the part of the net that they are in, as its picture has them.

        A part without weights belongs to the one before it; all that makes and reads features to the head.
        """
        weigh: Counter[str] = Counter()
        for layer in self.layers:
            weigh[part_of(layer)] += layer.parameters + layer.fixed
        name, named = "", []
        for layer in self.layers:
            part = part_of(layer)
            name = part if weigh[part] or not name else name
            named.append((name, layer))
        return tuple(
            Stage(name, tuple(layer for _, layer in pairs))
            for name, pairs in groupby(named, key=lambda pair: pair[0])
        )

    def as_json(self) -> dict[str, Any]:
        """Everything, with the sums."""
        return {
            "shape": list(self.shape),
            "classes": self.classes,
            "parameters": self.parameters,
            "fixed": self.fixed,
            "products": self.products,
            "layers": [asdict(layer) for layer in self.layers],
            "base": self.base or None,
            "gone": [layer.name for layer in self.gone],
        }


def part_of(layer: Layer) -> str:
    return "head" if len(layer.shape) == 1 else layer.name.partition(".")[0]


def block_of(layer: Layer) -> str:
    """The numbered block of a part that a layer is in: `stage1.0` of `stage1.0.conv1`; empty if in none."""
    part, number = (*layer.name.split("."), "", "")[:2]
    return f"{part}.{number}" if number.isdigit() else ""


def folded(outline: Outline) -> Outline:
    """The same, with blocks of a part that are like the one before them in one layer, of the kind `again`."""
    groups: list[list[tuple[str, tuple[Layer, ...]]]] = []
    for block, run in groupby(outline.layers, key=block_of):
        layers = tuple(run)
        if block and groups and alike(groups[-1][-1], (block, layers)):
            groups[-1].append((block, layers))
        else:
            groups.append([(block, layers)])
    made: list[Layer] = []
    stands_for: dict[str, str] = {}
    for (_, layers), *others in groups:
        made += layers
        if others:
            made.append(in_one(others[0][0], len(others), [layer for _, more in others for layer in more]))
            stands_for |= {layer.name: made[-1].name for _, more in others for layer in more}
    kept = [replace(m, inputs=tuple(stands_for.get(name, name) for name in m.inputs)) for m in made]
    return replace(outline, layers=tuple(kept))


def alike(a: tuple[str, Sequence[Layer]], b: tuple[str, Sequence[Layer]]) -> bool:
    """Whether two blocks, each with its name, are of one part and the same."""

    def seen(block: tuple[str, Sequence[Layer]]) -> list[Any]:
        part = block[0].partition(".")[0]
        return [(part, m.kind, m.settings, m.shape, m.against, m.was) for m in block[1]]

    return seen(a) == seen(b)


def in_one(name: str, blocks: int, layers: Sequence[Layer]) -> Layer:
    """A layer that stands for so many blocks like the one before them."""
    own = {layer.name for layer in layers}
    against = {layer.against for layer in layers}
    return Layer(
        name=name,
        kind="again",
        label=f"{blocks} more like it",
        told=f"{blocks} more like the one before",
        settings={},
        shape=layers[-1].shape,
        parameters=sum(layer.parameters for layer in layers),
        fixed=sum(layer.fixed for layer in layers),
        products=sum(layer.products for layer in layers),
        inputs=tuple(dict.fromkeys(n for layer in layers for n in layer.inputs if n not in own)),
        against=against.pop() if len(against) == 1 else "changed",
        count=len(layers),
    )
