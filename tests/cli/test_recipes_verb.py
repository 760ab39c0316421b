"""`hotlap recipes`, recipe files, and what the command line changes in a recipe."""

from __future__ import annotations

import dataclasses
import inspect
import json
import tomllib

import pytest

from conftest import PLAIN, one_line, snapshot
from hotlap.cli.composing import compose, trick_of
from hotlap.cli.main import build_parser
from hotlap.plan.flat import flatten
from hotlap.recipes import BUILTIN, find
from hotlap.tricks import discover


def composed(*words: str):
    """The recipe that `hotlap train` with these words would train."""
    return compose(build_parser().parse_args(["train", *words]))


def changed(recipe, base: str) -> set[str]:
    old, new = flatten(BUILTIN[base].plan()), flatten(recipe.plan())
    return {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)}


# -- list, show, diff, copy ----------------------------------------------------------------------


def test_list_names_every_recipe_with_its_base(cli):
    listed = json.loads(cli("recipes", "list", "--json").out)["recipes"]
    assert [(r["name"], r["base"]) for r in listed] == [(r.name, r.base) for r in BUILTIN.values()]
    out = cli("recipes", "list").out
    assert [name for name in BUILTIN if f"\n{name} " not in "\n" + out] == []


def test_show_is_the_whole_plan(cli):
    done = cli("recipes", "show", "muon94")
    plan = done.out.partition("the whole plan:\n")[2]
    assert "".join(line.removeprefix("  ") + "\n" for line in plan.splitlines()) == BUILTIN["muon94"].text()
    shown = json.loads(cli("recipes", "show", "muon94", "--json").out)
    assert shown["recipe"] == BUILTIN["muon94"].flat()
    assert shown["tricks"] == [t.name for t in BUILTIN["muon94"].tricks]
    assert shown["base"] == "airbench94"


def test_diff_is_what_changes_and_nothing_else(cli, tmp_path):
    text = 'base = "muon94"\nset.epochs = 3.0\nset.net.widths = [8]\n'
    (tmp_path / "cwd" / "my.toml").write_text(text)
    was = BUILTIN["muon94"].plan()
    lines = [
        f"- epochs = {was.epochs}",
        "+ epochs = 3.0",
        f"- net.widths = {list(was.net.widths)}",
        "+ net.widths = [8]",
    ]
    assert cli("recipes", "diff", "muon94", "my.toml").out.splitlines() == lines
    assert json.loads(cli("recipes", "diff", "muon94", "my.toml", "--json").out)["diff"] == lines
    assert cli("recipes", "diff", "demo", "demo").out == "no difference\n"
    assert json.loads(cli("recipes", "diff", "demo", "demo", "--json").out)["diff"] == []


@pytest.mark.parametrize("name", BUILTIN)
def test_a_copy_is_the_recipe_until_it_is_edited(cli, tmp_path, name):
    assert cli("recipes", "copy", name, "my.toml").status == 0
    assert cli("recipes", "diff", name, "my.toml").out == "no difference\n"
    file = tmp_path / "cwd" / "my.toml"
    before, settings, after = file.read_text().partition("[set]\n")
    # every line of [set] uncommented says what the recipe says anyway
    file.write_text(before + settings + after.replace("# ", ""))
    assert tomllib.loads(file.read_text())["set"], "nothing to uncomment"
    assert cli("recipes", "diff", name, "my.toml").out == "no difference\n"


@pytest.mark.parametrize("name", [name for name, recipe in BUILTIN.items() if recipe.tricks])
def test_a_copys_tricks_can_be_uncommented(cli, tmp_path, name):
    assert cli("recipes", "copy", name, "my.toml").status == 0
    file = tmp_path / "cwd" / "my.toml"
    lines = file.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("# [with."))
    stop = lines.index("[set]")
    lines[start:stop] = [line.removeprefix("# ") for line in lines[start:stop]]
    file.write_text("\n".join(lines))
    done = cli("recipes", "diff", name, "my.toml")
    assert (done.status, done.out, done.err) == (0, "no difference\n", "")


def test_a_copy_overwrites_nothing(cli, tmp_path):
    file = tmp_path / "cwd" / "my.toml"
    file.write_text("mine")
    done = cli("recipes", "copy", "demo", "my.toml")
    assert done.status == 2
    assert "my.toml: is there already; choose another name" in one_line(done.err)
    assert snapshot(tmp_path / "cwd") == {"my.toml": b"mine"}


def test_a_copy_goes_only_where_it_can_be_used(cli, tmp_path):
    assert "ends in .toml" in one_line(cli("recipes", "copy", "demo", "my.txt").err)
    assert "no recipe called 'dmo'" in one_line(cli("recipes", "copy", "dmo", "my.toml").err)
    assert snapshot(tmp_path / "cwd") == {}


def test_an_edited_copy_trains(cli, tmp_path):
    assert cli("recipes", "copy", "demo", "small.toml").status == 0
    file = tmp_path / "cwd" / "small.toml"
    file.write_text(file.read_text() + "epochs = 1.0\nbatch_size = 50\nnet.widths = [8]\n")
    done = cli("train", "small.toml", "--data", "patterns:200,50", *PLAIN, "--out", "run", "--json")
    assert done.status == 0, done.err
    summary = json.loads(done.out)
    assert (summary["recipe"], summary["epochs"], summary["steps"]) == ("small", 1.0, 4)


# -- recipe files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('base = "dmo"', "no recipe called 'dmo'; did you mean 'demo'?"),
        ('base = "demo"\nepochs = 3.0', "unknown key 'epochs'; put it under [set]: set.epochs"),
        ('base = "demo"\nwithuot = ["muon"]', "unknown key 'withuot'; did you mean 'without'?"),
        ('base = "demo"\nset.epohcs = 3.0', "unknown key 'epohcs'; did you mean 'epochs'?"),
        ('base = "demo"\n[set.net]\nwidth = [8]', "unknown key 'net.width'; did you mean 'net.widths'?"),
        ('base = "demo"\nset.epochs = "3"', "epochs: '3' given, a number wanted"),
        ('base = "demo"\nset.epochs = true', "epochs: True given, a number wanted"),
        ('base = "demo"\nset.batch_size = 50.0', "batch_size: 50.0 given, a whole number wanted"),
        ('base = "demo"\nset.net.widths = 8', "net.widths: 8 given, a list wanted"),
        ('base = "demo"\nset.net.widths = [8, "9"]', "net.widths: '9' given, a whole number wanted"),
        ('base = "demo"\nset.net.norm.scale = 1', "net.norm.scale: 1 given, true or false wanted"),
        ('base = "demo"\nset.evaluation.tta = "flop"', "'flop' is not one of"),
        ('base = "demo"\n[with.emma]', "no trick called 'emma'; did you mean 'ema'?"),
        ('base = "demo"\n[with.ema]\ndecya = 0.9', "'ema' has no setting 'decya'; did you mean 'decay'?"),
        ('base = "demo"\n[with.ema]\ndecay = "x"', "ema.decay: 'x' given, a number wanted"),
        ('base = "demo"\nwith = ["ema"]', "'with' must be tables"),
        ('base = "demo"\nwith.ema = 0.9', "'with' must be tables"),
        ('base = "demo"\nwithout = ["mun"]', "has no trick 'mun'; did you mean 'muon'?"),
        ('base = "demo"\nwithout = "muon"', "without: 'muon' given, a list wanted"),
        ('base = "airbench94"\n[with.ema]', "lookahead excludes ema; leave one out with --without"),
        ("base = ", "not TOML: Invalid value (at line 1"),
        ('base = "demo"\nepoch = 3.0', "set.epochs"),
        ('bse = "demo"', "'base'"),
        ("", "'base'"),
        ('base = "demo"\nset = 3', "'set' must be"),
        ('base = "demo"\ndata = 3', "data: 3 given"),
    ],
)
def test_a_recipe_file_is_read_strictly(cli, tmp_path, text, words):
    (tmp_path / "cwd" / "my.toml").write_text(text + "\n")
    for verb in (["recipes", "show"], ["train"]):
        done = cli(*verb, "my.toml")
        assert words in one_line(done.err)
        assert (done.status, done.out) == (2, "")
    assert list(snapshot(tmp_path / "cwd")) == ["my.toml"]


@pytest.mark.parametrize(
    "text",
    [
        "set.epohcs = 3.0",
        'set.epochs = "3"',
        'without = ["mun"]',
        "[with.ema]\n[with.lookahead]",
    ],
)
def test_a_mistake_in_a_file_names_the_file(cli, tmp_path, text):
    (tmp_path / "cwd" / "my.toml").write_text(f'base = "demo"\n{text}\n')
    assert "my.toml" in one_line(cli("recipes", "show", "my.toml").err)


def test_a_recipe_file_that_is_not_text(cli, tmp_path):
    (tmp_path / "cwd" / "my.toml").write_bytes(b"\xff\xfe")
    done = cli("recipes", "show", "my.toml")
    assert done.status == 2
    assert "my.toml: cannot be read" in one_line(done.err)


def test_a_recipe_file_changes_what_it_says_and_nothing_else(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'base = "demo"\nname = "other"\ndata = "cifar10"\nwithout = ["multi-crop-tta"]\n'
        "[with.label-smoothing]\nsmoothing = 0.1\n[set]\nepochs = 3\nnet.widths = [8, 16]\n"
    )
    made = find(str(file))
    assert (made.name, made.base, made.data) == ("other", "demo", "cifar10")
    assert changed(made, "demo") == {"evaluation.tta", "loss.smoothing", "epochs", "net.widths"}
    plan = made.plan()
    assert (plan.epochs, plan.net.widths, plan.loss.smoothing) == (3.0, (8, 16), 0.1)


@pytest.mark.parametrize("name", BUILTIN)
def test_a_resolved_recipe_reads_back_equal(cli, tmp_path, name):
    file = tmp_path / "cwd" / "resolved.toml"
    file.write_text(BUILTIN[name].text())
    read = find(str(file))
    assert read.plan() == BUILTIN[name].plan()
    assert read.text() == BUILTIN[name].text()
    line = next(x for x in file.read_text().splitlines() if x.startswith("batch_size"))
    file.write_text(file.read_text().replace(line, "batch_siz = 3"))
    assert "'batch_size' is missing; did you mean 'batch_siz'?" in one_line(
        cli("recipes", "show", "resolved.toml").err
    )


@pytest.mark.parametrize("text", ['base = "demo"\n', None])
def test_a_recipe_file_without_a_name_is_called_as_the_file(tmp_path, text):
    file = tmp_path / "mine.toml"
    lines = [line for line in BUILTIN["demo"].text().splitlines() if not line.startswith("name")]
    file.write_text(text or "\n".join(lines))
    assert find(str(file)).name == "mine"


def test_a_runs_recipe_is_the_plan_that_ran(cli, trained):
    ran = composed(
        *("demo", "--epochs", "2", "--set", "batch_size=50", "--set", "net.widths=[8,8,8]", *PLAIN)
    )
    for name in (trained, trained / "recipe.toml"):
        read = find(str(name))
        assert read.plan() == ran.plan()
        assert read.text() == (trained / "recipe.toml").read_text()
    assert "+ net.widths = [8, 8, 8]\n" in cli("recipes", "diff", "demo", trained).out


# -- what the command line changes ---------------------------------------------------------------


def test_epochs_target_and_set_change_their_keys():
    made = composed("demo", "--epochs", "3", "--target", "90", "--set", "net.widths=[8]")
    assert changed(made, "demo") == {"epochs", "target", "net.widths"}
    assert (made.plan().epochs, made.plan().target, made.plan().net.widths) == (3.0, 90.0, (8,))


def test_text_needs_no_quotes_but_takes_them():
    for value in ("flip", "'flip'", '"flip"'):
        assert composed("--set", f"evaluation.tta={value}").plan().evaluation.tta == "flip"


def test_settings_that_need_each_other_go_together():
    start = "knobs.lr.schedule"
    made = composed("--set", f"{start}.progress=[0.0,0.5,1.0]", "--set", f"{start}.values=[0.0,1.0,0.0]")
    assert made.plan().knob("lr", "").values == (0.0, 1.0, 0.0)


def test_with_and_without():
    assert "label-smoothing" not in [t.name for t in composed("--without", "label-smoothing").tricks]
    assert composed("--without", "label-smoothing").plan().loss.smoothing == 0
    made = composed("--without", "lookahead", "airbench94", "--with", "ema:decay=0.9,every=3")
    assert made.plan().after[0].decay == 0.9
    assert made.plan().evaluation.weights == "ema"
    assert composed("--with", "widths:channels=[4,6,8]").plan().net.widths == (4, 6, 8)
    smooth = composed("--with", "label-smoothing:smoothing=0.3")
    assert [t.name for t in smooth.tricks] == [t.name for t in BUILTIN["demo"].tricks], "replaced in place"
    assert changed(smooth, "demo") == {"loss.smoothing"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("airbench94 --with ema", "lookahead excludes ema; leave one out with --without"),
        ("demo --with ema --with lookahead", "ema excludes lookahead"),
        ("demo --with norm-bias-rate", "excludes"),
        ("airbench94 --with muon --without patch-whitening", "norm-bias-rate excludes muon"),
        ("resnet9 --with muon --with patch-whitening", "muon must come after patch-whitening"),
    ],
)
def test_tricks_that_do_not_go_together_are_refused(cli, tmp_path, line, words):
    done = cli("train", *line.split())
    assert done.status == 2
    assert words in one_line(done.err)
    assert snapshot(tmp_path / "cwd") == {}


# -- tricks --------------------------------------------------------------------------------------


def test_every_trick_is_listed_with_its_idea(cli):
    listed = json.loads(cli("tricks", "list", "--json").out)["tricks"]
    assert [t["name"] for t in listed] == list(discover())
    out = " ".join(cli("tricks", "list").out.split())
    for trick in listed:
        assert trick["idea"] == inspect.getdoc(discover()[trick["name"]]).splitlines()[0]
        assert f"{trick['name']} {trick['idea']}" in out


@pytest.mark.parametrize("name", discover())
def test_every_trick_has_a_card(cli, name):
    cls = discover()[name]
    card = json.loads(cli("tricks", "show", name, "--json").out)
    recipe, lines = card.pop("diff_in"), card.pop("diff")
    assert card == {
        "name": name,
        "card": inspect.getdoc(cls),
        "source": cls.source,
        "expected": cls.effect,
        "failures": cls.failures,
        "touches": list(cls.touches),
        "settings": {
            f.name: list(f.default) if isinstance(f.default, tuple) else f.default
            for f in dataclasses.fields(cls)
        },
        "after": list(cls.after),
        "excludes": list(cls.excludes),
        "used_in": [r.name for r in BUILTIN.values() if name in {t.name for t in r.tricks}],
    }
    assert lines
    assert recipe in BUILTIN
    keys = [line[2:].partition(" = ")[0] for line in lines]
    assert [k for k in keys if not any(f"{k}.".startswith(f"{t}.") for t in cls.touches)] == []
    shown = " ".join(cli("tricks", "show", name).out.split())
    for text in (
        " ".join(lines),
        card["card"],
        f"failures {cls.failures}",
        f"expected {cls.effect}",
        f"source {cls.source}",
    ):
        assert " ".join(text.split()) in shown


@pytest.mark.parametrize("name", [name for name, cls in discover().items() if dataclasses.fields(cls)])
def test_a_cards_settings_can_be_given_back(cli, name):
    """As `show` writes them, a comma apart, `--with` reads them."""
    shown = cli("tricks", "show", name).out.partition("\nsettings ")[2].partition("\ncomes after")[0]
    assert trick_of(f"{name}:{' '.join(shown.split())}") == discover()[name]()
    assert trick_of(f"{name}:{''.join(shown.split())}") == discover()[name]()


def test_a_trick_that_is_not_there(cli):
    done = cli("tricks", "show", "cutuot")
    assert (done.status, done.out) == (2, "")
    assert one_line(done.err) == (
        "hotlap: no trick called 'cutuot'; did you mean 'cutout'?; see `hotlap tricks list`"
    )
