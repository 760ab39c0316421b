"""A net's outline against the net: costs, modules, what each of them reads; and how two nets differ."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch
from torch import nn

from hotlap.data import known_spec
from hotlap.inspect.cost import cost
from hotlap.inspect.outline import outline
from hotlap.nets.branches import Branches, series
from hotlap.nets.build import build_net
from hotlap.nets.compare import compared
from hotlap.nets.outline import Layer, Outline, folded
from hotlap.plan import Shuffle
from hotlap.recipes import BUILTIN
from hotlap.runs.net import spec_for
from hotlap.spec import DataSpec

# one recipe for each net: most rungs of the ladder share theirs with another
NETS = {BUILTIN[name].plan().net: name for name in BUILTIN}


def spec_of(name: str) -> DataSpec:
    return replace(spec_for(BUILTIN[name]), train_count=50_000)


@functools.cache
def outlined(name: str) -> Outline:
    return outline(BUILTIN[name].plan().net, spec_of(name))


@pytest.mark.parametrize("name", NETS.values())
def test_layers_add_up_to_what_the_plan_costs(name):
    plan = replace(
        BUILTIN[name].plan(), epochs=0.01, freeze=(), sampler=Shuffle()
    )  # of which only the net counts
    found, whole = outlined(name), cost(plan, spec_of(name))
    assert found.parameters == whole.parameters
    assert 2 * found.products == whole.forward
    for made in (found, folded(found)):
        assert sum(layer.parameters for stage in made.stages for layer in stage.layers) == whole.parameters
        assert sum(stage.products for stage in made.stages) == found.products
        assert sum(layer.count for layer in made.layers) == len(found.layers)


@pytest.mark.parametrize("name", NETS.values())
def test_every_module_is_a_layer_and_every_layer_a_module_or_a_function(name):
    net = build_net(BUILTIN[name].plan().net, spec_of(name)).to("meta")
    leaves = {
        path.removeprefix("body.")
        for path, module in net.named_modules()
        if not any(True for _ in module.children())
        and not isinstance(module, nn.Identity | nn.Sequential)  # which do nothing
    }
    layers = outlined(name).layers
    assert len({layer.name for layer in layers}) == len(layers)
    functions = {layer.name for layer in layers} - leaves
    assert leaves <= {layer.name for layer in layers}
    assert {layer.kind for layer in layers if layer.name in functions} <= {"add", "act"}
    weights = sum(p.numel() for p in net.parameters())
    assert sum(layer.parameters + layer.fixed for layer in layers) == weights


@pytest.mark.parametrize("name", ["airbench96", "aidda100", "page/01-baseline", "page/10-resnet9", "photos"])
def test_layers_read_what_the_net_hands_them_and_make_what_they_say(name):
    """Watched as the net runs on an image: what a module is given is the very tensor that its input made."""
    spec = replace(spec_of(name), shape=(3, 32, 32))
    described = BUILTIN[name].plan().net
    net = build_net(described, spec).eval()
    net.reset(torch.Generator().manual_seed(0))
    net.calibrate(torch.randn(20, *spec.shape, generator=torch.Generator().manual_seed(0)))
    given, made, names = {}, {}, {m: path.removeprefix("body.") for path, m in net.named_modules()}

    def keep(module, inputs, output):
        given[names[module]], made[names[module]] = inputs[0], output

    for module in names:
        if not any(True for _ in module.children()):
            module.register_forward_hook(keep)
    with torch.no_grad():
        net(torch.randn(1, *spec.shape, generator=torch.Generator().manual_seed(1)))
    layers = outline(described, spec).layers
    by_name = {layer.name: layer for layer in layers}
    watched = 0
    for layer in layers:
        if layer.name not in given:
            continue
        assert made[layer.name].shape[1:] == layer.shape, layer.name
        if not layer.inputs:
            assert layer is layers[0]
            continue
        (read,) = layer.inputs
        watched += 1
        if read in made:
            assert given[layer.name] is made[read], layer.name
        elif by_name[read].kind == "add" and all(n in made for n in by_name[read].inputs):
            a, b = (made[n] for n in by_name[read].inputs)
            assert (given[layer.name] == a + b).all(), layer.name
    assert watched > 10


def test_images_and_classes_are_those_asked_for():
    found = outline(BUILTIN["muon94"].plan().net, replace(known_spec("cifar100"), shape=(1, 28, 30)))
    assert found.shape == (1, 28, 30)
    assert found.layers[0].shape == (8, 27, 29)  # 2x2 patches of one channel, with both signs
    assert found.layers[-1].shape == (100,)


# -- stages, blocks, branches ------------------------------------------------------------------------


def test_stages_are_the_parts_with_weights():
    assert [s.name for s in outlined("muon94").stages] == ["stem", "group1", "group2", "group3", "head"]
    assert [m.name for m in outlined("muon94").stages[0].layers] == ["stem.whiten", "act"]
    assert [m.name for m in outlined("muon94").stages[-1].layers] == ["pool", "head"]
    names = ["stem", *(f"stage{i}" for i in range(1, 8)), "last", "head"]
    assert [s.name for s in outlined("photos").stages] == names


def test_blocks_that_repeat_are_one_layer_and_others_are_not():
    again = [m for m in folded(outlined("photos")).layers if m.kind == "again"]
    assert [(m.name, m.count, m.label) for m in again] == [
        ("stage4.2", 9, "1 more like it"),
        ("stage5.2", 9, "1 more like it"),
        ("stage6.2", 18, "2 more like it"),
    ]
    assert [m.name for m in folded(outlined("page/10-resnet9")).layers] == [
        m.name for m in outlined("page/10-resnet9").layers
    ]
    names = {m.name for m in folded(outlined("photos")).layers}
    assert all(n in names for m in folded(outlined("photos")).layers for n in m.inputs)


def shape_of(items) -> list:
    """Kinds, with the branches of a pair as a list."""
    return [[shape_of(s) for s in i.series] if isinstance(i, Branches) else i.kind for i in items]


def test_branches_run_beside_each_other():
    unit = ["conv", "norm", "act"]
    assert shape_of(series(outlined("page/10-resnet9")))[7:9] == [[[*unit, *unit], []], "add"]
    block = ["norm", "act", [["conv", "norm", "act", "conv"], ["conv"]], "add"]
    found = shape_of(series(outlined("page/01-baseline")))
    assert found[3 + 8 : 3 + 12] == block  # after the stem and the first stage
    assert shape_of(series(outlined("muon94"))) == [m.kind for m in outlined("muon94").layers]


def chain(*reads: str) -> Outline:
    """Layers a, b, c and so on, of which each reads those that a word names."""
    layers = tuple(
        Layer(name, "x", name, "", {}, (1,), 0, 0, 0, tuple(read))
        for name, read in zip("abcdefg", reads, strict=False)
    )
    return Outline((1, 1, 1), layers)


def test_branches_within_branches():
    found = series(chain("", "a", "b", "bc", "ad"))  # a(b(c) to d) to e, beside a to e
    assert [i.name for i in found if isinstance(i, Layer)] == ["a", "e"]
    (outer,) = [i for i in found if isinstance(i, Branches)]
    assert shape_of(outer.series[0]) == ["x", [["x"], []], "x"]
    assert outer.series[1] == ()


@pytest.mark.parametrize(
    "reads", [("", "a", "a"), ("", "a", "a", "bc", "b"), ("", "a", "a", "bc", "b", "cde")]
)
def test_a_net_that_does_not_come_together_is_refused(reads):
    with pytest.raises(ValueError, match="branch"):
        series(chain(*reads))


# -- differences -------------------------------------------------------------------------------------


def differs(name: str, base: str = "") -> tuple[dict[str, set[str]], set[str]]:
    """The layers of a rung by how they stand to the rung it is a diff of, and those that are gone."""
    base = base or BUILTIN[name].base
    against = compared(outlined(name), outline(BUILTIN[base].plan().net, spec_of(name)), base)
    assert against.base == base
    marked = {m.name: m.against for m in against.layers if m.against != "same"}
    return (
        {kind: {n for n, k in marked.items() if k == kind} for kind in set(marked.values())},
        {m.name for m in against.gone},
    )


LAYERS = ("layer1", "layer2", "layer3")
NORMS = {"stem.norm", *(f"{layer}.norm" for layer in LAYERS)}
UNITS = {f"{i}.{part}" for i in (0, 1) for part in ("conv", "norm", "act")}
PAIRS = {
    "page/02-tidy-stem-and-schedule": ({}, {"stem.norm", "stem.act"}),
    "page/08-cutout-earlier-peak": ({}, set()),
    "page/a2-no-repeated-norm": (
        {},
        {f"{part}.again{i}.{m}" for m in ("norm", "act") for part, i in
         [("stem", 2), ("stem", 3), ("layer1", 2), ("layer2", 2)]},
    ),
    "page/a3-3x3-down-sampling": ({"changed": {f"{layer}.conv" for layer in LAYERS}}, set()),
    "page/a4-max-pool-down-sampling": (
        {"changed": {f"{layer}.conv" for layer in LAYERS}, "new": {f"{layer}.pool" for layer in LAYERS}},
        set(),
    ),
    "page/a5-final-width-global-max-pool": ({"changed": {"layer3.conv", "layer3.norm", "pool"}}, set()),
    "page/a6-unit-norm-scales": ({"changed": NORMS | {"head"}}, set()),
    "page/a7-residuals": (
        {"new": {f"{layer}.residual.{part}" for layer in ("layer1", "layer3") for part in
                 ("add", *(f"branch.{unit}" for unit in UNITS))}},
        set(),
    ),
    "page/a9-extra-layers": (
        {"new": {f"{layer}.extra.{part}" for layer in LAYERS for part in ("conv", "norm", "act")}},
        set(),
    ),
    "page/10-resnet9": ({}, set()),
    "page/12-pool-before-norm": ({"moved": {f"{layer}.pool" for layer in LAYERS}}, set()),
    "page/13-label-smoothing": ({}, set()),
    "fast94-uniform": ({"changed": {f"group{i}.norm{j}" for i in (1, 2, 3) for j in (1, 2)}}, set()),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_what_differs_is_marked_and_nothing_else(name):
    assert differs(name) == PAIRS[name]


def test_the_backbone_is_the_shortest_path_of_the_net_it_is_taken_from():
    marked, gone = differs("page/a1-backbone")
    assert marked == {}
    shortcuts = {f"stage{i}.0.shortcut" for i in (2, 3, 4)}
    convolutions = {m.name for m in outlined("page/08-cutout-earlier-peak").layers if m.kind == "conv"}
    assert {n for n in gone if "conv" in n} == convolutions - shortcuts - {"stem.conv"}
    assert shortcuts.isdisjoint(gone)


def test_layers_of_two_parts_that_both_nets_have_are_not_taken_for_each_other():
    """The stem of the one has two norms more; they are not those that a layer of the other has more."""
    marked, gone = differs("page/10-resnet9", base="page/a1-backbone")
    assert {f"{layer}.conv" for layer in LAYERS} <= marked["changed"]
    assert {f"stem.again{i}.{part}" for i in (2, 3) for part in ("norm", "act")} <= gone
    assert {f"layer3.residual.branch.{unit}" for unit in UNITS} <= marked["new"]


def test_what_changed_is_said():
    found = compared(outlined("page/a4-max-pool-down-sampling"), outlined("page/a3-3x3-down-sampling"), "a3")
    said = {m.name: m.was for m in found.layers if m.was}
    assert said == {f"{layer}.conv": "stride 1 (was 2)" for layer in LAYERS}
    assert compared(outlined("demo"), outlined("demo"), "demo").as_json()["base"] == "demo"


def test_a_deeper_group_is_told_from_a_wider_one():
    marked, gone = differs("airbench96")
    new = {f"group{i}.{n}" for i in (1, 2, 3) for n in ("rest.conv3", "rest.norm3", "add", "act")}
    assert marked["new"] == new
    assert {n for n in marked["changed"] if "norm" not in n} == {
        *("group3.first.conv1", "group3.rest.conv2", "head")
    }
    assert gone == set()


@pytest.mark.parametrize("name", [n for n in BUILTIN if BUILTIN[n].base])
def test_every_layer_of_either_net_is_paired_once_or_told(name):
    base = outline(BUILTIN[BUILTIN[name].base].plan().net, spec_of(name))
    found = compared(outlined(name), base, "base")
    paired = sum(m.against != "new" for m in found.layers)
    assert paired + len(found.gone) == len(base.layers)
