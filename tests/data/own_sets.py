"""Small sets of one's own, written in each form: images whose colour says their class."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hotlap import data
from hotlap.errors import UserError

COLOURS = {"cat": (250, 10, 10), "dog": (10, 250, 10), "eel": (10, 10, 250), "fox": (200, 200, 10)}


def pixels(name: str, place: int, side: int = 8) -> np.ndarray:
    """(side, side, 3) uint8 in the class's colour; `place` is written into the blue of one corner."""
    image = np.full((side, side, 3), COLOURS.get(name, (90, 90, 90)), np.uint8)
    image[0, 0] = (0, 0, place)
    return image


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write_tree(root: Path, counts: Mapping[str, int], side: int = 8) -> Path:
    """`{"train/cat": 3}` makes train/cat/0.png, 1.png, 2.png below the root."""
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            name = folder.split("/")[-1]
            (root / folder / f"{i}.png").write_bytes(png(pixels(name.lower(), i, side)))
    return root


def arrays_of(names: Sequence[str], side: int = 8) -> np.ndarray:
    """(N, side, side, 3) uint8, an image for each name."""
    return np.stack([pixels(name, i, side) for i, name in enumerate(names)])


def idx_bytes(array: np.ndarray) -> bytes:
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, split: str, images: np.ndarray, labels: np.ndarray, packed: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for what, array in (("images-idx3", images), ("labels-idx1", labels)):
        raw = idx_bytes(array)
        name = f"{split}-{what}-ubyte" + (".gz" if packed else "")
        (folder / name).write_bytes(gzip.compress(raw) if packed else raw)


def write_parquet(path: Path, rows: Sequence[tuple[bytes | None, object]], names: list[str] | None) -> None:
    """A shard as the Hugging Face hub has it: image structs, labels, and the labels' names in the schema."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    features: dict[str, object] = {"image": {"_type": "Image"}}
    if names:
        features["label"] = {"_type": "ClassLabel", "names": names}
    table = pa.table(
        {
            "image": pa.array(
                [{"bytes": raw, "path": f"{i}.png"} for i, (raw, _) in enumerate(rows)],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "label": pa.array([label for _, label in rows]),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)


def names_of(dataset: data.Dataset, split: data.Split) -> list[str]:
    """The class of each image by its label; -1 is `?`."""
    return [dataset.spec.class_names[i] if i >= 0 else "?" for i in split.labels]


def seen(dataset: data.Dataset, split: data.Split) -> list[str]:
    """The class of each image by its colour, in a corner that no place is written into."""
    by_colour = {colour: name for name, colour in COLOURS.items()}
    return [by_colour.get(tuple(image[-1, -1].tolist()), "?") for image in split.images]


def right(dataset: data.Dataset) -> bool:
    """Whether each image's label is that of its colour, in every split."""
    splits = [dataset.train, dataset.test, *dataset.held.values()]
    return all(names_of(dataset, s) == seen(dataset, s) for s in splits)


def error_of(source, **keywords) -> str:
    """The one line that loading it comes to."""
    with pytest.raises(UserError) as error:
        data.load(source, **keywords)
    text = str(error.value)
    assert "\n" not in text
    return text
