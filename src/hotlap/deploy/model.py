"""A saved model on a device, ready to use, and what it scores on a test set."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hotlap import data as datasets
from hotlap.data.dataset import Split
from hotlap.data.device import DeviceSet
from hotlap.engine.evaluate import Score, score
from hotlap.engine.views import VIEWS, all_logits
from hotlap.errors import UserError, did_you_mean
from hotlap.machine.backend import Backend
from hotlap.machine.device import prepare
from hotlap.machine.resolve import resolve
from hotlap.nets.build import build_net
from hotlap.nets.layers import Network
from hotlap.plan import Plan
from hotlap.recipes.reading import read_resolved
from hotlap.runs.checkpoint import load_model
from hotlap.spec import DataSpec


@dataclass(frozen=True)
class Loaded:
    """Saved weights on a device, ready to use."""

    model: Network
    plan: Plan
    spec: DataSpec
    backend: Backend

    def logits(self, split: Split, tta: str, share: float = 1.0) -> torch.Tensor:
        """Logits (N, classes) of a split's images; `share` as in `all_logits`."""
        images = DeviceSet(split, self.spec, self.backend)
        images.fill(split)
        weights = {k: v.detach() for k, v in self.model.state_dict().items()}
        return all_logits(self.model, weights, images, tta, share)


def open_model(path: str | Path, device: str = "auto") -> Loaded:
    """The model in a run's folder or a safetensors file.

    Raises:
        UserError: if there is none, or it does not read.
    """
    saved = load_model(Path(path))
    plan = read_resolved(tomllib.loads(saved.recipe), str(path)).plan()
    where = prepare(device)
    backend = resolve(plan.numerics, where)
    model = build_net(plan.net, saved.spec).to(where, backend.weights_dtype)
    try:
        model.load_state_dict(saved.tensors)
    except RuntimeError:
        raise UserError(
            f"{path}: the weights do not fit their recipe; the file is damaged, train again"
        ) from None
    model = model.to(memory_format=backend.format)  # type: ignore[call-overload]
    return Loaded(model.eval(), plan, saved.spec, backend)


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
    dataset = datasets.load(data, data_dir=data_dir)
    check_fits(dataset.spec, data, loaded.spec, str(path))
    share = 1.0 if tta else loaded.plan.evaluation.share
    logits = loaded.logits(dataset.test, views, share)
    labels = torch.from_numpy(np.array(dataset.test.labels)).to(logits.device)
    return score(logits, labels, len(VIEWS[views]), share)


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
