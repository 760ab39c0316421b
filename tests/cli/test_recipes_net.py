"""`hotlap recipes show R --net`, as typed, and `hotlap.draw_net`."""

from __future__ import annotations

import json
import shutil
from xml.etree import ElementTree

import pytest

import hotlap
from conftest import one_line, snapshot
from hotlap.data import known_spec, load
from hotlap.errors import UserError
from hotlap.plan.flat import render
from hotlap.recipes import BUILTIN

TABLE = "layer  "


def test_the_layers_are_told_with_what_they_cost(cli):
    done = cli("recipes", "show", "page/a7-residuals", "--net")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[1] == "a diff of page/a6-unit-norm-scales; made for --data cifar10"
    assert "6,573,120 parameters, 379 million multiply-adds an image of 3 x 32 x 32, 10 classes" in lines
    rows = [" ".join(line.split()) for line in lines]
    assert "layer1 128 x 16 x 16 369,408 150,994,944 40%" in rows
    assert "conv conv 3x3, 64 to 128 128 x 32 x 32 73,728 75,497,472 20%" in rows
    assert "+ residual.branch.0.conv conv 3x3, 128 to 128 128 x 16 x 16 147,456 37,748,736 10%" in rows
    assert "all 6,573,120 379,261,952 100%" in rows
    assert lines[-1] == "+ new since page/a6-unit-norm-scales"
    assert "the whole plan" not in done.out


def test_the_picture_is_written_where_it_is_asked_for(cli, tmp_path):
    done = cli("recipes", "show", "fast94", "--svg", "pictures/net.svg")
    assert (done.status, done.err) == (0, "")
    assert done.out.endswith("\npicture: pictures/net.svg\n")
    assert TABLE in done.out, "a picture asks for the net"
    file = tmp_path / "cwd" / "pictures" / "net.svg"
    assert ElementTree.fromstring(file.read_text()).get("aria-label") == "fast94"
    assert cli("recipes", "show", "demo", "--net", "--svg", "pictures/net.svg").status == 0
    assert 'aria-label="demo"' in file.read_text(), "written anew"


def test_one_object_says_all(cli, tmp_path):
    done = cli("recipes", "show", "photos", "--net", "--svg", "net.svg", "--json")
    shown = json.loads(done.out)
    assert shown["recipe"] == BUILTIN["photos"].flat()
    assert shown["svg"] == "net.svg"
    net = shown["net"]
    assert (net["shape"], net["classes"], net["base"]) == ([3, 224, 224], 1000, None)
    assert sum(m["parameters"] for m in net["layers"]) == net["parameters"] == 4_652_008
    assert sum(m["products"] for m in net["layers"]) == net["products"]
    assert {m["count"] for m in net["layers"]} == {1}, "none is folded"
    assert TABLE in done.err
    changed = json.loads(cli("recipes", "show", "page/12-pool-before-norm", "--net", "--json").out)["net"]
    assert [m["name"] for m in changed["layers"] if m["against"] == "moved"] == [
        *("layer1.pool", "layer2.pool", "layer3.pool")
    ]
    gone = json.loads(cli("recipes", "show", "page/a2-no-repeated-norm", "--net", "--json").out)["net"][
        "gone"
    ]
    assert "stem.again2.norm" in gone


def write_own(file):
    """A recipe that is made for no data that is known, as the one of a run on images of one's own."""
    flat = {**BUILTIN["fast94"].flat(), "name": "own", "data": ""}
    file.write_text(render(flat))


def net_of(cli, *words):
    done = cli("recipes", "show", *words, "--net", "--json")
    assert done.status == 0, done.err
    return json.loads(done.out)["net"]


def test_sizes_and_classes_are_those_given(cli):
    assert net_of(cli, "muon94", "--data", "cifar100")["classes"] == 100
    found = net_of(cli, "muon94", "--size", "48x64", "--classes", "7")
    assert (found["shape"], found["classes"]) == ([3, 48, 64], 7)
    assert net_of(cli, "aidda100")["classes"] == 100
    assert net_of(cli, "photos", "--size", "64")["shape"] == [3, 64, 64]


def test_images_of_ones_own_are_looked_at(cli, tmp_path):
    from PIL import Image

    for split, name in ((s, n) for s in ("train", "val") for n in ("a", "b", "c")):
        folder = tmp_path / "set" / split / name
        folder.mkdir(parents=True)
        for i in range(4):
            Image.new("L", (40, 36), 40 * i).save(folder / f"{i}.png")
    found = net_of(cli, "muon94", "--data", tmp_path / "set")
    assert (found["shape"], found["classes"]) == ([1, 36, 40], 3)
    fitted = net_of(cli, "--data", tmp_path / "set")
    assert (fitted["shape"], fitted["classes"], fitted["base"]) == ([1, 36, 40], 3, "fast94-uniform")
    assert net_of(cli, "--data", tmp_path / "set", "--size", "24")["shape"] == [1, 24, 24]


def test_a_runs_net_is_that_of_its_data_beside_its_recipe(cli, trained):
    found = net_of(cli, trained)
    assert (found["shape"], found["classes"], found["base"]) == ([3, 32, 32], 10, "demo")
    changed = {m["name"] for m in found["layers"] if m["against"] == "changed"}
    assert {"group1.conv1", "group3.norm2", "head"} <= changed
    assert net_of(cli, trained / "recipe.toml") == found


def test_it_is_compared_with_what_is_asked_for(cli):
    found = net_of(cli, "page/10-resnet9", "--against", "page/a6-unit-norm-scales")
    assert found["base"] == "page/a6-unit-norm-scales"
    assert sum(m["against"] == "new" for m in found["layers"]) == 14
    out = cli("recipes", "show", "page/10-resnet9", "--net").out
    assert out.splitlines()[-1] == "no difference  the same net as page/a7-residuals"
    assert net_of(cli, "resnet9")["base"] is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fast95x --net", "no recipe called 'fast95x'; did you mean 'fast95'?"),
        ("fast94 --net --against fast95x", "no recipe called 'fast95x'; did you mean 'fast95'?"),
        ("fast94 --svg net.png", "net.png: the picture is an SVG file; give a name that ends in .svg"),
        ("fast94 --svg file/net.svg", "cannot write file"),
        ("fast94 --net --classes 0", "--classes 0: give 1 or more"),
        ("fast94 --net --classes two", "--classes: invalid int value: 'two'"),
        ("fast94 --net --size 6", "images of 6x6 are too small for this net's stem"),
        ("fast94 --net --data cifra10", "no data source 'cifra10'"),
        ("fast94 --net --data patterns:0,1", "write patterns, patterns:TRAIN,TEST"),
        ("--net", "name a recipe, or give --data"),
        ("own.toml --net", "own is for images of your own: give them with --data, or --size and --classes"),
        ("own.toml --net --size 32", "give them with --data, or --size and --classes"),
        ("fast94 --nett", "did you mean '--net'?"),
    ],
)
def test_a_mistake_is_one_line(cli, tmp_path, line, words):
    (tmp_path / "cwd" / "file").write_text("in the way")
    write_own(tmp_path / "cwd" / "own.toml")
    done = cli("recipes", "show", *line.split())
    assert words in one_line(done.err)
    assert (done.status, done.out) == (2, "")
    assert set(snapshot(tmp_path / "cwd")) == {"file", "own.toml"}


def test_what_is_not_known_can_be_given(cli, tmp_path):
    write_own(tmp_path / "cwd" / "own.toml")
    found = net_of(cli, "own.toml", "--size", "32", "--classes", "4")
    assert (found["shape"], found["classes"], found["base"]) == ([3, 32, 32], 4, None)


def test_a_base_that_does_not_go_with_the_images_is_left_out(cli, tmp_path):
    (tmp_path / "cwd" / "small.toml").write_text('base = "fast94"\nset.net.widths = [8]\n')
    found = net_of(cli, "small.toml", "--size", "4", "--classes", "4")
    assert (found["base"], found["shape"]) == (None, [3, 4, 4])


def test_a_damaged_run_is_told(cli, trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / "environment.json").write_text('{"spec": {"shape": [3, 32, 32]}}')
    assert "environment.json: damaged" in one_line(cli("recipes", "show", copy, "--net").err)


def test_from_python(tmp_path):
    made = hotlap.draw_net("muon94", data="cifar100", net__widths=[8, 16, 24])
    assert made.outline.layers[-1].shape == (100,)
    assert [s.layers[-1].shape[0] for s in made.outline.stages[1:-1]] == [8, 16, 24]
    assert made.outline.base == "muon94", "as it is without the settings"
    assert made.save(tmp_path / "net.svg").read_text() == made.svg == made._repr_svg_()
    assert hotlap.draw_net(hotlap.find_recipe("fast94"), against="muon94").outline.base == "muon94"
    assert hotlap.draw_net("photos", size=(96, 128), classes=2).outline.shape == (3, 96, 128)
    with pytest.raises(UserError, match=r"unknown key 'net\.width'"):
        hotlap.draw_net("muon94", net__width=[8])


@pytest.mark.parametrize("source", ["patterns", "patterns:200,50"])
def test_what_is_known_of_a_set_is_what_it_has(source):
    known, found = known_spec(source), load(source).spec
    assert (known.shape, known.class_names) == (found.shape, found.class_names)
    assert (known.train_count, known.test_count) == (found.train_count, found.test_count)
    assert known_spec("somewhere/else") is None


@pytest.mark.cifar
def test_what_is_known_of_cifar_is_what_it_has():
    known, found = known_spec("cifar10"), load("cifar10").spec
    assert (known.shape, known.class_names) == (found.shape, found.class_names)
    assert (known.train_count, known.test_count) == (found.train_count, found.test_count)
