"""A saved model on a device, ready to use, and what it scores on a test set."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hotlap import data as datasets
from hotlap.data.dataset import Dataset, Split
from hotlap.data.device import DeviceSet
from hotlap.engine.evaluate import Score, score
from hotlap.engine.views import VIEWS, all_logits
from hotlap.errors import UserError, did_you_mean
from hotlap.files import Notify, silent
from hotlap.machine.backend import Backend
from hotlap.machine.device import prepare
from hotlap.machine.numerics import Numerics
from hotlap.machine.resolve import resolve
from hotlap.nets.build import build_net
from hotlap.nets.network import Network
from hotlap.plan import Plan
from hotlap.recipes.reading import read_resolved
from hotlap.runs.checkpoint import Preprocessing, load_model
from hotlap.spec import DataSpec


@dataclass(frozen=True)
class Loaded:
    """Saved weights on a device, ready to use.

    Args:
        path: the run's folder or the file they came from.
        recipe: its name.
        preprocessing: what is done to a picture before the model sees it.
        temperature: logits are divided by it before the softmax.
    """

    path: Path
    recipe: str
    model: Network
    plan: Plan
    spec: DataSpec
    backend: Backend
    preprocessing: Preprocessing
    temperature: float

    def logits(self, split: Split, tta: str, share: float = 1.0) -> torch.Tensor:
        """Logits (N, classes) of a split's images; `share` as in `all_logits`."""
        images = DeviceSet(split, self.spec, self.backend)
        images.fill(split)
        weights = {k: v.detach() for k, v in self.model.state_dict().items()}
        return all_logits(self.model, weights, images, tta, share)

    def probabilities(self, images: npt.NDArray[np.uint8], tta: str = "none") -> npt.NDArray[np.float32]:
        """Probabilities (N, classes) of images (N, H, W, C) uint8 of the model's own size."""
        logits = self.logits(Split(images, np.zeros(len(images), np.int64)), tta)
        out: npt.NDArray[np.float32] = (logits.float() / self.temperature).softmax(1).cpu().numpy()
        return out


def open_model(path: str | Path, device: str = "auto", numerics: Numerics | None = None) -> Loaded:
    """The model in a run's folder or a safetensors file.

    Args:
        numerics: in what arithmetic it works; None takes its recipe's.

    Raises:
        UserError: if there is none, or it does not read.
    """
    saved = load_model(Path(path))
    recipe = read_resolved(tomllib.loads(saved.recipe), str(path))
    plan = recipe.plan()
    where = prepare(device)
    backend = resolve(numerics or plan.numerics, where)
    model = build_net(plan.net, saved.spec).to(where, backend.weights_dtype)
    try:
        model.load_state_dict(saved.tensors)
    except RuntimeError:
        raise UserError(
            f"{path}: the weights do not fit their recipe; the file is damaged, train again"
        ) from None
    model = model.to(memory_format=backend.format)  # type: ignore[call-overload]
    return Loaded(
        Path(path),
        recipe.name,
        model.eval(),
        plan,
        saved.spec,
        backend,
        saved.preprocessing,
        saved.temperature,
    )


def check_tta(tta: str) -> str:
    """`tta` if it names views.

    Raises:
        UserError: if not, with those there are.
    """
    if tta not in VIEWS:
        raise UserError(f"--tta {tta}: no such views{did_you_mean(tta, VIEWS)}; there are {', '.join(VIEWS)}")
    return tta


def evaluate_saved(
    path: str | Path, data: str, *, tta: str | None = None, device: str = "auto", data_dir: Path | None = None
) -> Score:
    """The accuracy of a saved model on a data set's test images.

    Raises:
        UserError: if the model or data is missing, or they do not fit each other.
    """
    loaded = open_model(path, device)
    views = check_tta(tta) if tta else loaded.plan.evaluation.tta
    dataset = images_for(loaded, data, data_dir)
    share = 1.0 if tta else loaded.plan.evaluation.share
    logits = loaded.logits(dataset.test, views, share)
    labels = torch.from_numpy(np.array(dataset.test.labels)).to(logits.device)
    return score(logits, labels, len(VIEWS[views]), share)


@dataclass(frozen=True)
class TrainedOn:
    """A run's data: the source, the folder it was looked for in, if one was named, and how it was read."""

    source: str
    data_dir: Path | None
    loading: Mapping[str, Any]


def trained_on(model: Path) -> TrainedOn | None:
    """The data of the run that a model belongs to; None where its folder does not say."""
    folder = model if model.is_dir() else model.parent
    try:
        environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
        where = environment["data_dir"]
        loading = dict(environment.get("loading", {}))
        return TrainedOn(str(environment["data"]), Path(where) if where else None, loading)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def images_for(
    loaded: Loaded, data: str | None, data_dir: Path | None = None, notify: Notify = silent
) -> Dataset:
    """Images to measure a model by: those of its run, as the run read them, or others brought to its size.

    Args:
        data: a source; None is the run's.

    Raises:
        UserError: the run does not say what its data was, or there is none, or it does not fit the model.
    """
    run, how = trained_on(loaded.path), loaded.preprocessing
    if run is not None and data in (None, run.source):
        source = run.source
        found = datasets.load(source, data_dir=data_dir or run.data_dir, notify=notify, **run.loading)
    elif data is None:
        raise UserError(f"{loaded.path}: does not say what it was trained on; name it with --data")
    elif data.partition(":")[0] in (known.name for known in datasets.available(data_dir=data_dir)):
        source = data
        found = datasets.load(data, data_dir=data_dir, notify=notify)
    else:
        names, channels = loaded.spec.class_names, loaded.spec.channels
        source = data
        found = datasets.load_to_measure(
            data, names, channels, how.size, how.fit, data_dir=data_dir, notify=notify
        )
    check_fits(found.spec, source, loaded.spec, str(loaded.path))
    return found


def check_fits(spec: DataSpec, data: str, model: DataSpec, path: str) -> None:
    """Whether images like `spec`'s, of the source `data`, are what the model at `path` was trained on.

    Raises:
        UserError: they are not; it says in what they differ.
    """
    if (spec.shape, spec.classes) != (model.shape, model.classes):
        raise UserError(
            f"{path} was trained on {describe(model)}, {data} has {describe(spec)}; use data that fits"
        )
    for i, (there, here) in enumerate(zip(model.class_names, spec.class_names, strict=True)):
        if there != here:
            raise UserError(
                f"{path} was trained on other classes than {data} has: class {i} is {there!r} there and"
                f" {here!r} here; use data with the same classes"
            )


def describe(spec: DataSpec) -> str:
    c, h, w = spec.shape
    return f"{spec.classes} classes of {h}x{w} images in {c} channel{'s' if c > 1 else ''}"
