"""The tensors that a run starts with, from another run, a file, or ImageNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from hotlap.errors import UserError
from hotlap.nets.build import build_net
from hotlap.plan import Plan
from hotlap.plan.start import FromRun
from hotlap.runs.checkpoint import MODEL, load_model, read
from hotlap.spec import DataSpec

HEAD = "head."  # names of the classifier's tensors begin with it


@dataclass(frozen=True)
class Start:
    """What a run starts with: tensors by the net's own names, and in words what was taken and what not."""

    tensors: Mapping[str, Tensor]
    remark: str


def starting_tensors(plan: Plan, spec: DataSpec) -> Start | None:
    """What `plan.start` asks for, for the plan's net on data like `spec`'s; None where it is from scratch.

    The classifier is taken only if it knows the same classes in the same order.

    Raises:
        UserError: there are no such weights, or nothing of them fits the net.
    """
    if not isinstance(plan.start, FromRun):
        return None
    path = Path(plan.start.path).expanduser()
    tensors, classes = read_from(path)
    own = {name: t.shape for name, t in build_net(plan.net, spec).to("meta").state_dict().items()}
    same_classes = classes is None or classes == spec.class_names
    taken, left = {}, []
    for name, shape in own.items():
        if name.startswith(HEAD) and not same_classes:
            left.append(f"{name} (other classes)")
        elif name not in tensors:
            left.append(f"{name} (not there)")
        elif tensors[name].shape != shape:
            left.append(f"{name} ({sides(tensors[name].shape)} there, {sides(shape)} here)")
        else:
            taken[name] = tensors[name]
    if not taken:
        raise UserError(
            f"--from {path}: none of its {len(tensors)} tensors fits; start from a run of the same net"
        )
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    new = f"; new: {', '.join(left[:3])}{more}" if left else ""
    return Start(taken, f"from {path}: {len(taken)} of {len(own)} tensors taken{new}")


def read_from(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...] | None]:
    """Tensors of a run's folder or a safetensors file, and the classes it knows, if it says so."""
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"--from {path}: no {MODEL} there; give a run's folder or a .safetensors file")
    tensors, metadata = read(file)
    return tensors, load_model(file).spec.class_names if "spec" in metadata else None


def sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
