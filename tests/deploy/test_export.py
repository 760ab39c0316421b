"""`hotlap export`: a file that answers as the run does, or none; its card; its sizes; what is refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hotlap
from conftest import PLAIN, one_line, run_main, snapshot
from hotlap import data

pytest.importorskip("onnx", reason="exports to ONNX need hotlap[onnx]")
pytest.importorskip("onnxscript", reason="exports to ONNX need hotlap[onnx]")
runtime = pytest.importorskip("onnxruntime", reason="exports to ONNX need hotlap[onnx]")

# a process in which neither hotlap nor torch is there to be imported
ALONE = """
import sys
class Nothing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in HIDDEN:
            raise ImportError(name + " is not here")
sys.meta_path.insert(0, Nothing())
for name in HIDDEN:
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(name + " is here after all")
sys.argv[:] = sys.argv[1:]
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"))
"""


@pytest.fixture(scope="module", autouse=True)
def in_haste():
    """Speeds are measured for a moment only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hotlap.deploy.export.TIMED_S", 0.01)
        yield


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory) -> Path:
    """The tiny run with a temperature, a crop, and an ONNX file and an int8 one exported from it."""
    from hotlap.runs.checkpoint import MODEL, load_model, save_model

    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("exported") / "run"))
    saved = load_model(folder)
    save_model(folder / MODEL, saved.tensors, saved.recipe, saved.spec, saved.preprocessing, 1.7)
    return folder


@pytest.fixture(scope="module")
def exported(run) -> Path:
    assert run_main(("export", run, "--threads", 1)) == 0
    return run / "export" / "model.onnx"


@pytest.fixture(scope="module")
def program(run, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    assert run_main(("export", run, "--format", "torch", "--out", path, "--threads", 1)) == 0
    return path


@pytest.fixture(scope="module")
def session(exported):
    return runtime.InferenceSession(exported, providers=["CPUExecutionProvider"])


def pictures() -> list[np.ndarray]:
    """Test images of the run, and others made of them at other sizes."""
    images = data.load("patterns:200,50").test.images
    found = [np.array(images[i]) for i in range(4)]
    sizes = ((50, 60), (9, 200), (33, 32), (1, 1), (260, 17))
    return found + [
        np.asarray(Image.fromarray(found[0]).resize(s[::-1], Image.Resampling.NEAREST)) for s in sizes
    ]


def own(run, pixels: np.ndarray) -> np.ndarray:
    return np.array(list(hotlap.predict(run, pixels, device="cpu")[0].probabilities.values()))


def test_pictures_of_every_size_get_the_runs_probabilities(run, session):
    for pixels in pictures():
        probabilities, logits = session.run(["probabilities", "logits"], {"image": pixels[None]})
        assert np.abs(probabilities[0] - own(run, pixels)).max() < 1e-4
        again = np.exp((logits[0] - logits[0].max()) / 1.7)
        assert probabilities[0] == pytest.approx(again / again.sum(), abs=1e-6)


def test_several_pictures_at_a_time_are_each_what_they_are_alone(session):
    stack = np.stack([p for p in pictures() if p.shape == (32, 32, 3)])
    together = session.run(["logits"], {"image": stack})[0]
    alone = [session.run(["logits"], {"image": one[None]})[0][0] for one in stack]
    assert np.allclose(together, alone, atol=1e-5)


def test_the_file_says_what_it_is(exported, session):
    import onnx

    graph = onnx.load(exported)
    onnx.checker.check_model(graph, full_check=True)
    props = session.get_modelmeta().custom_metadata_map
    assert json.loads(props["class_names"]) == list(data.load("patterns:200,50").spec.class_names)
    assert (props["recipe"], props["hotlap_version"]) == ("demo", hotlap.__version__)
    assert float(props["temperature"]) == 1.7
    assert "uint8 (N, H, W, 3), red, green, blue" in props["input"]
    (image,) = session.get_inputs()
    assert (image.name, image.type) == ("image", "tensor(uint8)")
    assert image.shape == ["batch", "height", "width", 3]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [
        ("probabilities", ["batch", 10]),
        ("logits", ["batch", 10]),
    ]
    assert {node.op_type for node in graph.graph.node}.isdisjoint({"BatchNormalization", "If", "Loop"})
    text = exported.read_bytes()
    for path in (str(Path.home()).encode(), b".py"):
        assert path not in text, "paths of this machine are in the file"


def test_what_is_printed_and_the_json_object(cli, run, tmp_path):
    done = cli("export", run, "--out", tmp_path / "net.onnx", "--threads", "1", "--json", "--opset", "18")
    found = json.loads(done.out)
    assert (found["file"], found["opset"], found["format"]) == (str(tmp_path / "net.onnx"), 18, "onnx")
    assert found["bytes"] == (tmp_path / "net.onnx").stat().st_size
    assert (found["images"], found["agreement"], found["other_sizes"]) == (50, 1.0, 12)
    assert 0 <= found["difference"] < 1e-4
    one_view = json.loads(cli("eval", run, "--tta", "none", "--json").out)["accuracy"]
    assert found["accuracy"] == found["run_accuracy"] == one_view
    assert min(found["images_per_s"], found["one_image_ms"]) > 0
    assert "one view of an image" in " ".join(done.err.split())
    assert {p.name for p in tmp_path.iterdir()} - {"cwd"} == {"net.onnx", "README.md"}


def test_a_picture_that_is_padded(run, tmp_path):
    from dataclasses import replace

    from hotlap.runs.checkpoint import MODEL, load_model, save_model

    saved = load_model(run)
    there = Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("export")))
    preprocessing = replace(saved.preprocessing, fit="pad", background=(10, 200, 90))
    save_model(there / MODEL, saved.tensors, saved.recipe, saved.spec, preprocessing)
    assert run_main(("export", there, "--threads", 1)) == 0
    opened = runtime.InferenceSession(there / "export" / "model.onnx")
    for pixels in pictures():
        found = opened.run(["probabilities"], {"image": pixels[None]})[0][0]
        assert np.abs(found - own(there, pixels)).max() < 1e-4


def test_a_torch_program(run, program):
    import torch

    facts = {"class_names": "", "input": ""}
    loaded = torch.export.load(program, extra_files=facts).module()
    assert len(json.loads(facts["class_names"])) == 10
    for pixels in pictures():
        probabilities, _ = loaded(torch.from_numpy(np.array(pixels))[None])
        assert np.abs(probabilities[0].numpy() - own(run, pixels)).max() < 1e-4


def test_int8_is_smaller_and_says_what_it_costs(cli, run, exported, tmp_path):
    import onnx

    done = cli("export", run, "--format", "int8", "--out", tmp_path / "q.onnx", "--threads", "1", "--json")
    found = json.loads(done.out)
    assert found["fp32_images_per_s"] > 0
    assert found["agreement"] >= 0.8, "most images of 50 should keep their class"
    said = " ".join(done.err.split())
    assert "times the float32 file's" in said
    assert f"({found['accuracy'] - found['run_accuracy']:+.2f})" in said
    graph = onnx.load(tmp_path / "q.onnx").graph
    convolutions = [n for n in graph.node if n.op_type == "Conv"]
    made_by = {out: node for node in graph.node for out in node.output}
    for node in convolutions:
        assert [made_by[i].op_type for i in node.input[:2]] == ["DequantizeLinear"] * 2
    held = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    scales = held[made_by[convolutions[1].input[1]].input[1]]
    assert scales.size == 8, "weights have one scale a channel"
    products = [n for n in graph.node if n.op_type == "MatMul"]
    assert len(products) == 4, "the preprocessing is as it was"
    assert all(made_by[i].op_type != "DequantizeLinear" for n in products for i in n.input)
    opened = runtime.InferenceSession(tmp_path / "q.onnx")
    assert json.loads(opened.get_modelmeta().custom_metadata_map["class_names"])
    for pixels in pictures():
        probabilities = opened.run(["probabilities"], {"image": pixels[None]})[0][0]
        assert np.abs(probabilities - own(run, pixels)).max() < 0.2


# -- a file that does not answer as the run does -------------------------------------------------


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        (("rounded", lambda upper, lower: upper / 2048 + 2), "probabilities for images"),
        (("weights", None), "of other sizes"),
    ],
)
def test_a_file_that_answers_otherwise_is_not_kept(cli, run, tmp_path, monkeypatch, patch, words):
    from hotlap.deploy import preprocess

    name, broken = patch
    if broken is None:  # no antialiasing: images of the net's own size do not see it
        right = preprocess.weights

        def broken(count, size, to, keep):
            return right(count, size.clamp(max=to), to, keep)

    monkeypatch.setattr(preprocess, name, broken)
    (tmp_path / "net.onnx").write_bytes(b"as it was")
    done = cli("export", run, "--out", tmp_path / "net.onnx", "--threads", "1")
    said = done.err.splitlines()[-1]
    assert done.status == 2
    assert ("net.onnx: not written: " in said and words in said) or "another class than the run" in said
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == b"as it was"


def test_classes_as_probable_as_each_other_are_the_same():
    from hotlap.deploy.export import compared

    want = np.array([[0.5, 0.5], [0.9, 0.1]], np.float32)
    assert compared(want, np.array([[0.49999, 0.50001], [0.9, 0.1]], np.float32))[0] == 1
    assert compared(want, np.array([[0.5, 0.5], [0.4, 0.6]], np.float32))[0] == 0.5
    assert np.isnan(compared(want, np.array([[np.nan, 0.5], [0.9, 0.1]], np.float32))[1])


# -- the card ------------------------------------------------------------------------------------


def script_of(card: Path) -> str:
    (found,) = re.findall(r"```python\n(.*?)```", card.read_text(), re.S)
    return found


def alone(folder: Path, hidden: tuple[str, ...], *pictures: Path) -> dict[str, list[tuple[str, float]]]:
    """What the card's script prints in a process without `hidden`, by picture."""
    (folder / "classify.py").write_text(script_of(folder / "README.md"))
    code = f"HIDDEN = {hidden!r}\n{ALONE}"
    words = [sys.executable, "-I", "-W", "ignore", "-c", code, "classify.py", *map(str, pictures)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return {path: [(c.rpartition(" ")[0], float(c.rpartition(" ")[2])) for c in best] for path, *best in rows}


@pytest.mark.parametrize("format", ["onnx", pytest.param("torch", marks=pytest.mark.slow)])
def test_the_cards_script_runs_without_hotlap_and_agrees_with_it(run, exported, program, tmp_path, format):
    hidden = ("hotlap", "torch") if format == "onnx" else ("hotlap",)
    shutil.copytree((exported if format == "onnx" else program).parent, tmp_path / "out")
    files = [tmp_path / f"{i}.png" for i in range(3)]
    image = Image.fromarray(np.array(data.load("patterns:200,50").test.images[3]))
    image.resize((90, 70)).save(files[0])
    image.convert("L").save(files[1])
    turned = Image.Exif()
    turned[0x0112] = 6
    image.resize((40, 71)).save(files[2], exif=turned)
    found = alone(tmp_path / "out", hidden, *files)
    for file, prediction in zip(files, hotlap.predict(run, files, device="cpu"), strict=True):
        best = prediction.best(3)
        assert [name for name, _ in found[str(file)]] == [name for name, _ in best]
        for (_, share), (_, want) in zip(found[str(file)], best, strict=True):
            assert share == pytest.approx(want, abs=2e-4)


def test_the_card_says_what_was_measured(exported, run):
    text = (exported.parent / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert "pipeline_tag: image-classification" in front
    assert "# license:" in front
    accuracy = float(re.search(r"value: ([\d.]+)", front)[1])
    assert f"{100 * accuracy:.2f}% of 50 images of the test split" in body
    for heading in (
        "Use",
        "What it does",
        "Classes",
        "Data",
        "How it was trained",
        "Intended use and limits",
    ):
        assert f"\n## {heading}\n" in body
    summary = json.loads((run / "summary.json").read_text())
    assert (
        f"looks at 6 views of an image, which the file does not, and found {summary['accuracy']:.2f}%" in body
    )
    assert "`disc`, `ring`" in body
    worst = json.loads((run / "analysis.json").read_text())["classes"]
    share = min(c["accuracy"] for c in worst)
    assert "| class | right | images |\n|---|--:|--:|\n" in body
    assert re.search(rf"\| \w+ \| {100 * share:.1f}% \| 5 \|", body)
    assert str(run.parent) not in text, "folders of this machine are nobody's business"
    assert len(script_of(exported.parent / "README.md").splitlines()) <= 12


def test_a_readme_of_another_hand_stays(exported, tmp_path):
    from hotlap.deploy.card import write_card

    text = (exported.parent / "README.md").read_text()
    assert write_card(text, tmp_path / "a.onnx") == tmp_path / "README.md"
    assert write_card(text + "again", tmp_path / "b.onnx") == tmp_path / "README.md", "our own is replaced"
    (tmp_path / "README.md").write_text("# mine\n")
    assert write_card(text, tmp_path / "a.onnx") == tmp_path / "a.onnx.README.md"
    assert (tmp_path / "README.md").read_text() == "# mine\n"


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--format", "onx"),
            "--format onx: no such format; did you mean 'onnx'?; there are onnx, torch, int8",
        ),
        (("--opset", "9"), "--opset 9: give 18 to 23"),
        (("--format", "torch"), "torch reads programs from names that end in .pt2"),
        (("--data", "nowhere"), "nowhere"),
        (("--threads", "0"), "threads"),
    ],
)
def test_words_that_are_wrong(cli, run, tmp_path, words, said):
    done = cli("export", run, "--out", tmp_path / "net.onnx", *words)
    assert done.status == 2
    assert said in done.err.splitlines()[-1]
    assert not (tmp_path / "net.onnx").exists()


def test_weights_alone_need_data_to_be_named(cli, trained, tmp_path):
    alone = shutil.copy(trained / "model.safetensors", tmp_path / "w.safetensors")
    assert "name it with --data" in one_line(cli("export", alone, "--threads", "1").err)
    done = cli("export", alone, "--data", "patterns:200,50", "--threads", "1")
    assert done.status == 0
    assert (tmp_path / "export" / "model.onnx").is_file()


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_a_package_that_is_missing_is_named(cli, run, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    line = one_line(cli("export", run).err)
    assert f"the package {missing}, which is missing; pip install 'hotlap[onnx]'" in line


def test_a_disk_that_cannot_be_written(cli, run, tmp_path):
    (tmp_path / "file").write_text("")
    done = cli("export", run, "--out", tmp_path / "file" / "net.onnx", "--threads", "1")
    assert done.status == 2
    assert "net.onnx: Not a directory; choose a folder that can be written" in one_line(done.err)


def test_the_run_is_left_as_it_was(run, exported):
    names = {p for p in snapshot(run) if not p.startswith("export")}
    assert names == set(snapshot(run)) - {"export", "export/model.onnx", "export/README.md"}


# -- images of one's own -------------------------------------------------------------------------


def test_a_run_on_pictures_of_ones_own_is_exported_with_its_way_to_fit(cli, tmp_path):
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(60):
            noise = rng.integers(-50, 50, (20 + i % 9, 40, 3)) + level
            Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "photos" / name / f"{i}.png")
    words = ("--epochs", 2, "--set", "batch_size=20", "--set", "net.widths=[8,8,8]", *PLAIN)
    done = cli(
        "train", "demo", "--data", tmp_path / "photos", "--size", 24, "--fit", "pad", *words, "--out", "run"
    )
    assert done.status == 0, done.err
    found = json.loads(cli("export", "run", "--json", "--threads", 1).out)
    assert found["agreement"] == 1
    card = Path(found["card"]).read_text()
    assert "`dark`, `light`" in card
    assert "of the val split" in card
    assert "a picture is made 24x24: resized until it lies within that size, and padded" in card
    assert str(tmp_path) not in card
    opened = runtime.InferenceSession(found["file"])
    picture = tmp_path / "photos" / "dark" / "3.png"
    pixels = np.asarray(Image.open(picture))
    shares = opened.run(["probabilities"], {"image": pixels[None]})[0][0]
    (want,) = json.loads(cli("predict", "run", picture, "--json").out)["predictions"]
    assert shares == pytest.approx(list(want["probabilities"].values()), abs=1e-4)
    eval_words = ("--tta", "none", "--json")
    assert json.loads(cli("eval", "run", *eval_words).out)["accuracy"] == pytest.approx(found["accuracy"])
    other = json.loads(cli("eval", "run", "--data", tmp_path / "photos", *eval_words).out)
    assert other["count"] >= 12
