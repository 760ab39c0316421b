"""A model card beside an exported file: what it is, what it was measured to do, and a script that runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hotlap._version import __version__
from hotlap.data.dataset import Dataset
from hotlap.deploy.exported import Exported
from hotlap.deploy.model import Loaded
from hotlap.files import write_atomic
from hotlap.report.words import wilson

MARK = "<!-- written by hotlap export -->"
SHOWN = 100  # classes named in the card; the file has them all

ONNX_SCRIPT = """\
import json, sys
import numpy as np, onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
for path in sys.argv[1:]:
    image = ImageOps.exif_transpose(Image.open(path)).convert("{mode}")
    shares = session.run(["probabilities"], {{"image": {array}}})[0][0]
    print(path, *(f"{{names[i]}} {{shares[i]:.4f}}" for i in shares.argsort()[::-1][:3]), sep="\\t")
"""

TORCH_SCRIPT = """\
import json, sys
import numpy as np, torch
from PIL import Image, ImageOps

facts = {{"class_names": ""}}
program = torch.export.load("{file}", extra_files=facts).module()
names = json.loads(facts["class_names"])
for path in sys.argv[1:]:
    image = ImageOps.exif_transpose(Image.open(path)).convert("{mode}")
    shares = program(torch.from_numpy({array}.copy()))[0][0].tolist()
    best = sorted(range(len(names)), key=lambda i: -shares[i])[:3]
    print(path, *(f"{{names[i]}} {{shares[i]:.4f}}" for i in best), sep="\\t")
"""


def write_card(text: str, file: Path) -> Path:
    """Write a card beside its file; where it lies. A README.md that another hand wrote stays.

    Raises:
        UserError: if it cannot be written.
    """
    path = file.with_name("README.md")
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        path = file.with_name(f"{file.name}.README.md")
    write_atomic(path, text.encode())
    return path


def card(exported: Exported, loaded: Loaded, folder: Path, dataset: Dataset) -> str:
    """The text: Markdown under the front matter that model hubs read.

    Args:
        folder: the run's; what it lacks is left out.
    """
    summary, spec = read_json(folder / "summary.json"), loaded.spec
    name = plain_name(dataset.name)
    file, title = Path(exported.file).name, f"{loaded.recipe} on {name}"
    claim, measured = claimed(exported, summary, dataset)
    c, h, w = spec.shape
    kind = {"onnx": "ONNX", "int8": "ONNX in 8 bits", "torch": "torch.export"}[exported.format]
    colours = {1: "gray", 3: "RGB"}.get(c, f"{c} channels")
    how = {
        "crop": "resized until it covers that size, and its centre kept",
        "pad": "resized until it lies within that size, and padded",
        "stretch": "stretched to that size",
    }[loaded.preprocessing.fit]
    sections = [
        front_matter(exported, title, name, measured),
        f"# {title}\n\n{MARK}",
        f"An image classifier of {spec.classes} classes, trained with hotlap {__version__} and written as one"
        f" file, `{file}` ({kind}, {exported.bytes / 1e6:.1f} MB). It takes pictures of any size and gives a"
        " probability for each class.",
        f"## Use\n\n{used(exported, loaded, file)}",
        f"Input `image`: uint8 (N, H, W, {c}), {colours}, 0 to 255, upright, any height and width; several"
        " pictures at a time have one size. Outputs: `probabilities` and `logits`, float32 (N, classes)."
        f" Inside, a picture is made {h}x{w}: {how} (bilinear, antialiased, as Pillow does it); then it is"
        " normalised.",
        f"## What it does\n\n{claim}",
        f"The file beside the run: {exported.parity}. Speed where it was written: {exported.speed}.",
        *per_class(folder),
        f"## Classes\n\n{listed(spec.class_names)}",
        f"## Data\n\n{described(dataset, name)}",
        f"## How it was trained\n\n{trained(loaded, summary)}",
        f"## Intended use and limits\n\n{limits(exported, loaded)}",
    ]
    return "\n\n".join(sections) + "\n"


def front_matter(exported: Exported, title: str, name: str, measured: float) -> str:
    """What model hubs read. JSON strings are YAML strings, whatever is in them."""
    library = "pytorch" if exported.format == "torch" else "onnx"
    return "\n".join(
        [
            "---",
            "# license: left to you; hubs want one, such as mit or cc-by-4.0",
            f"library_name: {library}",
            "pipeline_tag: image-classification",
            f"tags: [hotlap, image-classification, {library}]",
            "metrics: [accuracy]",
            "model-index:",
            f"  - name: {json.dumps(title)}",
            "    results:",
            "      - task: {type: image-classification}",
            f"        dataset: {{name: {json.dumps(name)}, type: {json.dumps(name)}}}",
            "        metrics:",
            "          - type: accuracy",
            f"            value: {measured / 100:.4f}",
            f"            name: {json.dumps('accuracy of the file, one view')}",
            "---",
        ]
    )


def used(exported: Exported, loaded: Loaded, file: str) -> str:
    """The script and what it needs."""
    channels = loaded.preprocessing.channels
    if channels not in (1, 3):
        return f"It reads arrays of {channels} channels; no image file has as many."
    array = "np.asarray(image)[None]" if channels == 3 else "np.asarray(image)[None, :, :, None]"
    script = TORCH_SCRIPT if exported.format == "torch" else ONNX_SCRIPT
    packages = "torch" if exported.format == "torch" else "onnxruntime"
    text = script.format(file=file, mode="RGB" if channels == 3 else "L", array=array)
    return (
        f"`pip install {packages} numpy pillow`, then beside the file `python classify.py picture.jpg ...`"
        f" with this as `classify.py`:\n\n```python\n{text}```\n\nLay transparent pictures over white first."
    )


def claimed(exported: Exported, summary: dict[str, Any], dataset: Dataset) -> tuple[str, float]:
    """What is claimed in words, and the accuracy in percent that stands in the front matter."""
    n = exported.images
    low, high = wilson(exported.accuracy / 100, n)
    text = (
        f"{exported.accuracy:.2f}% of {n:,} images of the {dataset.test_split} split are classified right by"
        f" this file, from one view each (95% interval: {100 * low:.2f} to {100 * high:.2f}%)."
    )
    views = summary.get("views", 1)
    if views != 1 and "accuracy" in summary:
        text += (
            f" The run's own evaluation looks at {views} views of an image, which the file does not, and"
            f" found {summary['accuracy']:.2f}%."
        )
    held = summary.get("held")
    for split, accuracy in held.items() if isinstance(held, dict) else ():
        text += f" On the {split} split, which nothing was chosen by, the run's model has {accuracy:.2f}%."
    text += " The images were not trained on"
    text += (
        ", but epochs and settings may have been chosen by them: expect a little less on new ones."
        if dataset.test_split == "val" or dataset.held
        else "."
    )
    return text, exported.accuracy


def limits(exported: Exported, loaded: Loaded) -> str:
    """What the model is for and what it is not, a line each."""
    h, w = loaded.preprocessing.size
    lines = [
        "For pictures like those it was trained on, in those classes. It has no class for anything else: a"
        " picture of something else gets one of these classes too, at times with a high probability.",
        f"It was trained on pictures of {h}x{w} pixels; what is too small to be seen there it does not see.",
    ]
    if loaded.preprocessing.fit == "crop":
        lines.append("Of a picture of another shape it sees the centre alone.")
    calibrated = f"temperature {loaded.temperature:.3f}" if loaded.temperature != 1 else "not calibrated"
    lines += [
        f"Its probabilities ({calibrated}) hold for pictures like those they were measured on.",
        "How it does for groups of people, or under other conditions than its data's, was not measured. Do"
        " not let it decide alone about anyone.",
    ]
    if exported.format == "int8":
        lines.append(
            "It computes in 8 bits. Processors without products of 8 bits (x86 before VNNI) cut off large"
            " sums: measure its accuracy there."
        )
    return "\n".join(f"- {line}" for line in lines)


def per_class(folder: Path) -> list[str]:
    """A table of the classes the run does worst on, where it has an analysis."""
    rows = read_json(folder / "analysis.json").get("classes", [])
    try:
        measured = [(str(r["name"]), 100 * float(r["accuracy"]), int(r["count"])) for r in rows if r["count"]]
    except (KeyError, TypeError, ValueError):
        return []
    if not measured:
        return []
    worst = sorted(measured, key=lambda row: row[1])[:10]
    lines = [f"| {cell(name)} | {accuracy:.1f}% | {count:,} |" for name, accuracy, count in worst]
    head = "| class | right | images |\n|---|--:|--:|\n"
    said = "The classes that the run is right about least often, in its own evaluation:"
    return [f"{said}\n\n{head}" + "\n".join(lines)]


def listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{cell(name)}`" for name in names[:SHOWN])
    return shown + (
        f" and {len(names) - SHOWN:,} more, in the file's metadata." if len(names) > SHOWN else "."
    )


def described(dataset: Dataset, name: str) -> str:
    spec = dataset.spec
    return (
        f"{name}: {spec.train_count:,} images to train on and {spec.test_count:,} in the {dataset.test_split}"
        f" split, {spec.height}x{spec.width} pixels in {spec.channels}"
        f" channel{'s' if spec.channels > 1 else ''} as they were read. Say here where they come from,"
        " and under what terms."
    )


def trained(loaded: Loaded, summary: dict[str, Any]) -> str:
    """Recipe, length and machine, as far as the run's folder knows."""
    parameters = sum(p.numel() for p in loaded.model.parameters())
    text = f"Recipe `{loaded.recipe}`, {parameters:,} weights"
    if "epochs" in summary:
        text += f", {summary['epochs']:g} epochs ({summary.get('images', 0):,} images)"
    if "train" in summary.get("seconds", {}):
        text += f", {summary['seconds']['train']:,.0f} s of training on {summary.get('device', 'a device')}"
        text += f" in {summary.get('precision', 'mixed')} arithmetic"
    if "seed" in summary:
        text += f", seed {summary['seed']}"
    return text + ". The whole recipe is in the run's `recipe.toml`."


def plain_name(source: str) -> str:
    """A data set's name without the folders of the machine it lay on."""
    return Path(source).name if "/" in source else source


def cell(text: str) -> str:
    """Text that neither ends a table's cell nor a line."""
    return " ".join(text.replace("|", "/").replace("`", "'").split())


def read_json(path: Path) -> dict[str, Any]:
    """An object in a file, or nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
