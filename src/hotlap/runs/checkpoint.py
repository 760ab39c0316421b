"""What is kept of a run: its state, to go on from exactly; its weights, to use. Both as safetensors."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hotlap.data.fit import HOWS, WHITE
from hotlap.errors import UserError
from hotlap.files import write_atomic
from hotlap.spec import DataSpec

STATE = Path("state") / "state.safetensors"
MODEL = "model.safetensors"


@dataclass(frozen=True)
class Saved:
    """A training state read back: its tensors (on the CPU) and where the run stood."""

    tensors: dict[str, Tensor]
    step: int
    seed: int
    seconds: dict[str, float]
    history: list[dict[str, Any]]


def save_state(
    folder: Path,
    tensors: dict[str, Tensor],
    step: int,
    seed: int,
    seconds: dict[str, float],
    history: list[Any],
) -> None:
    """Write the state into a run's folder; the one before it stays until the new one is on the disk.

    Raises:
        UserError: if it cannot be written; the state before it is then still there.
    """
    facts = {"step": step, "seed": seed, "seconds": seconds, "history": history}
    write_atomic(folder / STATE, pack(tensors, {"run": json.dumps(facts)}))


def load_state(folder: Path) -> Saved:
    """The state in a run's folder.

    Raises:
        UserError: if there is none, or it does not read.
    """
    path = folder / STATE
    if not path.is_file() and (folder / "summary.json").is_file():
        raise UserError(f"{folder}: this run is finished; `hotlap report {folder}` makes its page again")
    if not path.is_file():
        raise UserError(f"{folder}: no state to resume from; give the folder of a run that was interrupted")
    tensors, metadata = read(path)
    try:
        facts = json.loads(metadata["run"])
        return Saved(tensors, facts["step"], facts["seed"], facts["seconds"], facts["history"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: not a training state ({error}); start the run again") from None


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a picture before the net sees it; see `hotlap.data.fit`.

    Args:
        size: (height, width) in pixels of what the net reads.
        fit: how a picture of another size is brought to it: `crop`, `pad` or `stretch`.
        background: red, green and blue, 0 to 255, of what is padded and of what shows through transparency.
        channels: 1 or 3 for pictures; a net on arrays may read any number.
    """

    size: tuple[int, int]
    fit: Literal["crop", "pad", "stretch"] = "crop"
    background: tuple[int, int, int] = WHITE
    channels: int = 3

    @staticmethod
    def of(spec: DataSpec) -> Preprocessing:
        """What is done where nothing is said: the data's own size and channels, cropped to."""
        return Preprocessing((spec.height, spec.width), channels=spec.channels)


@dataclass(frozen=True)
class SavedModel:
    """Weights to use, with all that is needed to use them.

    Args:
        preprocessing: of pictures; a file that does not say has `Preprocessing.of` its spec.
        temperature: logits are divided by it before the softmax.
    """

    tensors: dict[str, Tensor]
    recipe: str
    spec: DataSpec
    preprocessing: Preprocessing
    temperature: float = 1.0


def save_model(
    path: Path,
    tensors: dict[str, Tensor],
    recipe: str,
    spec: DataSpec,
    preprocessing: Preprocessing | None = None,
    temperature: float = 1.0,
) -> None:
    """Write weights with the resolved recipe and the data's description inside the same file.

    Args:
        preprocessing, temperature: as in `SavedModel`.

    Raises:
        UserError: if it cannot be written.
    """
    metadata = {
        "recipe": recipe,
        "spec": json.dumps(asdict(spec)),
        "preprocessing": json.dumps(asdict(preprocessing or Preprocessing.of(spec))),
        "temperature": repr(float(temperature)),
    }
    write_atomic(path, pack(tensors, metadata))


def load_model(path: Path) -> SavedModel:
    """Weights from a file, or from a run's folder.

    Raises:
        UserError: if there are none, or the file is not one of ours.
    """
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        what = f"no {MODEL} there" if path.exists() else "there is no such file or folder"
        raise UserError(f"{path}: {what}; give the folder of a finished run")
    tensors, metadata = read(file)
    try:
        spec = DataSpec.from_json(json.loads(metadata["spec"]))
        saved = SavedModel(tensors, metadata["recipe"], spec, Preprocessing.of(spec))
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{file}: not weights saved by hotlap ({error} is missing); give a run's folder"
        ) from None
    try:
        if "preprocessing" in metadata:
            saved = replace(saved, preprocessing=read_preprocessing(metadata["preprocessing"], spec))
        temperature = float(metadata.get("temperature", "1"))
        if not 0 < temperature < math.inf:
            raise ValueError(f"a temperature of {temperature:g}")
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{file}: damaged ({error}); train again") from None
    return replace(saved, temperature=temperature)


def read_preprocessing(text: str, spec: DataSpec) -> Preprocessing:
    """What `save_model` wrote of it.

    Raises:
        KeyError, ValueError, TypeError: it is something else.
    """
    raw = json.loads(text)
    height, width = map(int, raw["size"])
    red, green, blue = map(int, raw["background"])
    made = Preprocessing((height, width), raw["fit"], (red, green, blue), int(raw["channels"]))
    if made.fit not in HOWS or (made.channels, *made.size) != spec.shape:
        raise ValueError(f"a preprocessing of {text}")
    return made


def pack(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    ready = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    data: bytes = save(ready, metadata)
    return data


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        UserError: if it is truncated or not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}, f.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: does not read as safetensors ({error});"
            " give a run's folder, or train again if it is damaged"
        ) from None
