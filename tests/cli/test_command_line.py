"""What holds for every verb: quick help, one JSON object, the exit status, one line for a mistake."""

from __future__ import annotations

import importlib
import json
import resource
import shlex
import subprocess
import sys

import pytest

from conftest import PLAIN, TINY, one_line, snapshot
from hotlap.cli.composing import compose
from hotlap.cli.main import VERBS, build_parser

# -- starting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "limit_s"), [(["--help"], 0.3), (["recipes", "list"], 0.5)])
def test_what_needs_no_torch_answers_at_once(spawn, words, limit_s):
    """In processor time, the best of ten: a machine that is busy otherwise has nothing to do with it."""
    took_s = []
    while not took_s or (min(took_s) >= limit_s and len(took_s) < 10):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with spawn(*words) as process:
            out, err = process.communicate()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert (process.returncode, err) == (0, "")
        assert out
    assert min(took_s) < limit_s


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "--version",
        "train --help",
        "recipes list",
        "recipes show demo",
        "recipes diff demo muon94",
        "tricks list",
        "tricks show ema",
        "data list",
        "train --with emma",
        "train dmo",
        "train --set epochs=x",
        "train --resume gone --epochs 3",
        "trian",
    ],
)
def test_torch_is_not_imported_for(line):
    code = (
        "import sys\nfrom hotlap.cli.main import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *line.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_words_print_the_help(cli):
    done = cli()
    assert (done.status, done.err) == (0, "")
    assert done.out == cli("--help").out
    verbs = ["train", "eval", "predict", "recipes", "tricks", "data", "doctor"]
    assert [verb for verb in verbs if f"  {verb} " not in done.out] == []
    for verb in verbs:
        assert cli(verb, "--help").status == 0


EXAMPLES = [(v, line) for v in VERBS for line, _ in importlib.import_module(f"hotlap.cli.{v}").EXAMPLES]


@pytest.mark.parametrize(("verb", "line"), EXAMPLES)
def test_every_example_is_a_line_of_the_help_and_can_be_typed(cli, verb, line):
    assert f"\n  {line} " in cli(verb, "--help").out
    assert all(len(row) <= 100 for row in cli(verb, "--help").out.splitlines())
    words = shlex.split(line.rpartition(" | ")[2])  # the end of a pipe
    if words[0] == "hotlap":
        args = build_parser().parse_args(words[1:])
        assert args.verb == verb
        if verb in ("train", "profile") and args.recipe:
            compose(args)  # its recipe and tricks are there
    else:
        assert words[0] == "curl"


def test_every_verb_has_an_example():
    assert {verb for verb, _ in EXAMPLES} == set(VERBS)


def test_python_dash_m_is_the_command_line():
    import hotlap

    words = [sys.executable, "-m", "hotlap", "--version"]
    assert subprocess.run(words, capture_output=True, text=True).stdout == f"hotlap {hotlap.__version__}\n"


def test_the_version(cli):
    import hotlap

    assert cli("--version").out == f"hotlap {hotlap.__version__}\n"


def test_a_reader_that_goes_away_is_no_error(spawn):
    with spawn("recipes", "show", "demo") as process:
        process.stdout.close()  # before anything is written, as a `| head` that is quick
        err = process.stderr.read()
        process.wait()
    assert (process.returncode, err) == (0, "")


# -- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("recipes list", "recipes"),
        ("recipes show demo", "recipe"),
        ("recipes diff demo muon94", "diff"),
        ("recipes copy demo my.toml", "file"),
        ("tricks list", "tricks"),
        ("tricks show muon", "card"),
        ("data list", "sources"),
        ("data get patterns:200,50", "packed"),
        ("data check patterns:200,50", "ok"),
        ("eval RUN", "accuracy"),
        ("predict RUN IMAGE", "predictions"),
        ("train", "accuracy"),
    ],
)
def test_json_is_one_object_on_stdout_and_the_text_is_on_stderr(cli, trained, tmp_path, line, key):
    from PIL import Image

    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    words = line.replace("RUN", str(trained)).replace("IMAGE", str(tmp_path / "red.png")).split()
    words += [*TINY, "--out", tmp_path / "run"] if line == "train" else []
    plain = cli(*words)
    assert plain.status == 0
    assert plain.out
    for left in (tmp_path / "cwd" / "my.toml", tmp_path / "run"):
        if left.exists():
            left.rename(left.with_name("first-" + left.name))
    done = cli(*words, "--json")
    assert done.status == 0
    assert done.out.count("\n") == 1
    assert key in json.loads(done.out, parse_constant=pytest.fail)  # NaN is no JSON
    assert done.err, "the text a person reads is still there"
    if line not in ("train", "data get patterns:200,50"):
        assert plain.out in done.err


def test_json_of_an_error_leaves_stdout_empty(cli):
    done = cli("recipes", "show", "dmo", "--json")
    assert (done.status, done.out) == (2, "")
    one_line(done.err)


# -- exit status ---------------------------------------------------------------------------------


def raising(error: BaseException):
    def run(_):
        raise error

    return run


def test_an_internal_error_is_one_line_and_status_1(cli, monkeypatch):
    monkeypatch.setattr("hotlap.cli.recipes.run", raising(RuntimeError("boom\nbang")))
    done = cli("recipes", "list")
    assert done.status == 1
    assert one_line(done.err) == "hotlap: internal error: RuntimeError: boom bang (--debug shows where)"
    done = cli("recipes", "list", "--debug")
    assert done.status == 1
    assert done.err.startswith("Traceback (most recent call last)")
    assert done.err.endswith("\nhotlap: internal error: RuntimeError: boom bang\n")


def test_a_mistake_shows_a_traceback_only_with_debug(cli):
    text = one_line(cli("recipes", "show", "dmo").err)
    done = cli("recipes", "show", "dmo", "--debug")
    assert done.status == 2
    assert done.err.startswith("Traceback (most recent call last)")
    assert done.err.endswith(text + "\n")


def test_an_interrupt_where_nothing_is_to_be_saved_is_status_130(cli, monkeypatch):
    monkeypatch.setattr("hotlap.cli.recipes.run", raising(KeyboardInterrupt()))
    done = cli("recipes", "list")
    assert (done.status, done.err) == (130, "hotlap: interrupted\n")


# -- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trian", "no verb 'trian'; did you mean 'train'?"),
        ("train dmo", "no recipe called 'dmo'; did you mean 'demo'?"),
        ("train gone.toml", "gone.toml: no such recipe file"),
        ("recipes show airbnch94", "did you mean 'airbench94'?"),
        ("recipes bogus", "invalid choice: 'bogus'"),
        ("recipes", "ACTION"),
        ("recipes diff demo", "B"),
        ("tricks show emma", "no trick called 'emma'; did you mean 'ema'?"),
        ("train --with emma", "no trick called 'emma'; did you mean 'ema'?"),
        ("train --with ema:decya=0.9", "'ema' has no setting 'decya'; did you mean 'decay'?"),
        ("train --with ema:decay=x", "ema.decay: 'x' given, a number wanted"),
        ("train --with ema:decay", "'decay': give it as key=value"),
        ("train --without mun", "recipe 'demo' has no trick 'mun'; did you mean 'muon'?"),
        ("train --set batch_siz=3", "unknown key 'batch_siz'; did you mean 'batch_size'?"),
        ("train --set net.width=[8]", "unknown key 'net.width'; did you mean 'net.widths'?"),
        ("train --set batch_size", "'batch_size': give it as key=value"),
        ("train --set batch_size=1.5", "batch_size: 1.5 given, a whole number wanted"),
        ("train --set net.widths=8", "net.widths: 8 given, a list wanted"),
        ("train --set evaluation.tta=flop", "'flop' is not one of 'none', 'flip', 'flip_translate'"),
        ("train photos", "photos is for images of your own; give them with --data"),
        ("train --data patterns --minutes 0", "--minutes 0: give a number of minutes above 0"),
        ("train --minutes 1 --epochs 2", "--minutes chooses the epochs; leave out --epochs"),
        ("train fitted --data patterns", "`fitted` is for images of your own"),
        ("train --data ./gone", "there is no such file or folder"),
        ("train --seed -1", "--seed -1: give 0 or more"),
        ("train --seed x", "--seed: invalid int value: 'x'"),
        ("train --target 0", "--target 0: give a percentage"),
        ("train --target nan", "--target nan: give a percentage"),
        ("train --threads 0", "--threads 0: there are"),
        ("train --resume gone", "gone: no run there"),
        ("train --resume gone --epochs 3", "leave out --epochs"),
        ("train --resume gone --with ema", "leave out --with"),
        ("train --resume gone --data patterns", "leave out --data"),
        ("train --resume gone --out there", "leave out --out"),
        ("train --bogus", "unrecognized arguments: --bogus"),
        ("data check cfar10", "no data source 'cfar10'"),
        ("data check patterns:0,1", "write patterns, patterns:TRAIN,TEST"),
        ("data check cifar10 --data-dir gone", "does not exist"),
        ("eval gone", "gone: no such run or model"),
        ("predict gone x.png", "gone: there is no such file or folder"),
        ("predict gone x.png --top 0", "--top 0: give 1 or more"),
        ("doctor --threads -1", "--threads -1"),
        ("doctor --threads 0", "--threads 0"),
        ("train --eval-every -1 --resume gone", "--eval-every -1"),
        ("train --checkpoint-every nan --resume gone", "--checkpoint-every nan"),
        ("train --checkpoint-every -1 --resume gone", "--checkpoint-every -1"),
        ("train --see 1 --resume gone", "--see"),
        ("train --epoch 1 --resume gone", "did you mean '--epochs'?"),
    ],
)
def test_a_mistake_is_one_line_with_status_2_and_leaves_nothing(cli, tmp_path, line, words):
    done = cli(*line.split())
    assert words in one_line(done.err)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("hotlap")
    assert snapshot(tmp_path / "cwd") == {}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--device cdua", "--device cdua: no such device"),
        ("--device mps", "--device mps: PyTorch "),
        ("--data cifar", "no data source 'cifar'"),
        ("--data patterns:1", "write patterns, patterns:TRAIN,TEST"),
        ("--data cifar10 --data-dir gone", "does not exist"),
        ("--epochs 0", "epochs = 0; give a number above 0"),
        ("--epochs -1", "epochs = -1; give a number above 0"),
        ("--epochs nan", "epochs = nan; give a number above 0"),
        ("--set batch_size=201", "batch_size = 201 with 200 training images"),
        ("--set batch_size=0", "batch_size = 0"),
        ("--set augment.translate.pixels=40", "augment.translate.pixels = 40 on images of 32x32"),
        ("--set rules.filters.momentum=1.5", "rules.filters.momentum = 1.5"),
        ("--set loss.smoothing=nan", "loss.smoothing = nan"),
        ("--set evaluation.weights='ema'", "no EMA is kept"),
        ("--set net.norm.splits=3", "50 does not divide into net.norm.splits = 3"),
        ("--epochs inf", "epochs = inf"),
        ("--set net.widths=[]", "net.widths"),
        ("--set net.widths=[0,8,8]", "net.widths"),
        ("--set net.depth=0", "net.depth"),
        ("--set net.stem.kernel=0", "net.stem.kernel"),
        ("--set net.stem.kernel=40", "net.stem.kernel"),
        ("--set net.stem.images=0", "net.stem.images"),
        ("--set net.norm.eps=-1.0", "net.norm.eps"),
        ("--data-dir gone", "gone"),
    ],
)
def test_what_cannot_be_trained_is_one_line_with_status_2_and_leaves_nothing(
    cli, trained, tmp_path, line, words
):
    done = cli("train", *TINY, *line.split(), "--out", "run")
    assert done.status == 2, done.err
    assert words in one_line(done.err)
    assert done.out == ""
    assert snapshot(tmp_path / "cwd") == {}


def test_cuda_where_there_is_none_is_an_error_and_not_a_fallback(cli, trained, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    for words in (["train", *TINY], ["eval", trained], ["predict", trained, "x.png"]):
        done = cli(*words, "--device", "cuda")
        assert done.status == 2
        assert "--device cuda: PyTorch" in one_line(done.err)
    assert snapshot(tmp_path / "cwd") == {}


def test_a_folder_that_is_not_empty_is_refused_and_untouched(cli, trained, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("dear diary")
    before = snapshot(tmp_path / "full")
    done = cli("train", *TINY, "--out", tmp_path / "full")
    assert done.status == 2
    assert "is not empty; choose another --out" in one_line(done.err)
    assert snapshot(tmp_path / "full") == before
    (tmp_path / "empty").mkdir()
    assert cli("train", *TINY, "--epochs", "1", "--out", tmp_path / "empty").status == 0


def test_a_folder_that_cannot_be_made_is_one_line(cli, trained, tmp_path):
    (tmp_path / "file").write_text("x")
    done = cli("train", *TINY, "--out", tmp_path / "file" / "run")
    assert done.status == 2
    assert str(tmp_path / "file") in one_line(done.err)


def test_a_file_where_the_folder_should_be_is_one_line(cli, trained, tmp_path):
    (tmp_path / "file").write_text("x")
    done = cli("train", *TINY, "--out", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x"
    assert done.status == 2
    assert str(tmp_path / "file") in one_line(done.err)


# -- a whole session, as typed -------------------------------------------------------------------


def test_train_then_eval_in_processes_of_their_own(spawn, tmp_path):
    words = ["demo", "--data", "patterns:200,50", "--epochs", "1", "--set", "batch_size=50", *PLAIN]
    with spawn("train", *words, "--json", "--target", "100", cwd=tmp_path) as process:
        out, err = process.communicate()
    assert process.returncode == 3, err
    summary = json.loads(out)
    assert out.count("\n") == 1
    assert "target 100% missed" in err
    folder = tmp_path / summary["folder"]
    assert folder.parent == tmp_path / "runs"
    with spawn("eval", folder, "--json", cwd=tmp_path) as process:
        out, _ = process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["accuracy"] == summary["accuracy"]


def test_a_folder_in_a_recipes_place_is_told_where_it_goes(cli, tmp_path):
    (tmp_path / "photos").mkdir()
    photos = tmp_path / "photos"
    err = one_line(cli("train", str(photos)).err)
    assert err.endswith(f"for images there, --data {photos}")
    assert "see `hotlap recipes list`" in one_line(cli("train", "x" * 5000).err)  # no name of a file either


def test_a_run_that_is_not_there_and_a_file_that_is_no_run(cli, tmp_path):
    (tmp_path / "model.onnx").write_bytes(bytes(range(256)))
    gone = cli("predict", str(tmp_path / "mien"), str(tmp_path))
    assert "mien: there is no such file or folder; give the folder of a finished run" in one_line(gone.err)
    other = one_line(cli("predict", str(tmp_path / "model.onnx"), str(tmp_path)).err)
    assert "does not read as safetensors" in other
    assert "give a run's folder" in other
