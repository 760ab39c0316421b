"""IDX files, as MNIST and Fashion-MNIST come: `train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`, gzipped or
not.

Source: LeCun, Cortes, Burges, "The MNIST database", http://yann.lecun.com/exdb/mnist/. A file is two zero
bytes, a byte for the type, a byte for the number of axes, each axis's length (big-endian), and the values.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hotlap.data.arrays import Arrays, array_listing
from hotlap.data.listing import Listing, listed, split_within
from hotlap.data.unpacking import limit_of
from hotlap.data.walking import File
from hotlap.errors import UserError
from hotlap.files import read_error, why

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_NAME = re.compile(r"^(?P<prefix>.*?)(?P<what>images|labels)[-._]idx[0-9][-._]ubyte(\.gz)?$", re.IGNORECASE)
_BLOCK = 1 << 22


def idx_files(files: Sequence[File]) -> list[File]:
    """Those of the files that are IDX by their names."""
    return [f for f in files if _NAME.match(f.parts[-1])]


def idx_listing(root: Path, files: Sequence[File], origin: str) -> Listing:
    """The images of IDX files: one pair of images and labels for each split.

    Raises:
        UserError: a file has no partner, belongs to no one set, or is damaged.
    """
    pairs: dict[str, dict[str, File]] = {}
    for file in files:
        match = _NAME.match(file.parts[-1])
        assert match is not None
        prefix = "/".join((*file.parts[:-1], match["prefix"]))
        pairs.setdefault(prefix, {}).setdefault(match["what"].lower(), file)
    splits: dict[str, Arrays] = {}
    for prefix, pair in pairs.items():
        if len(pair) < 2:
            there = next(iter(pair.values())).name
            lacks = "labels" if "images" in pair else "images"
            raise UserError(f"{origin} has {there} without its {lacks}; put that file beside it")
        split = split_within(prefix) or "train"
        if split in splits:
            raise UserError(
                f"{origin} holds IDX files of more than one set ({listed(sorted(pairs))}); put each in a"
                " folder"
            )
        images, labels = (read_idx(root / pair[what].name) for what in ("images", "labels"))
        stamp = f"{pair['images'].stamp} {pair['labels'].stamp}"
        splits[split] = Arrays(pair["images"].name, images, labels, stamp)
    ordered: dict[str, Arrays] = {s: splits[s] for s in ("train", "val", "test") if s in splits}
    return array_listing(ordered, None, "IDX files", origin)


def read_idx(path: Path) -> npt.NDArray[Any]:
    """The array in an IDX file, gzipped or not.

    Raises:
        UserError: it is none, or damaged.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as stream:
            return _read(stream, path, limit_of(path.stat().st_size))
    except (EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise UserError(f"{path} is truncated or damaged ({why(err)}); get it again") from err
    except OSError as err:
        raise read_error(err, path) from err


def _read(stream: Any, path: Path, limit: int) -> npt.NDArray[Any]:
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or not 1 <= head[3] <= 4:
        raise UserError(
            f"{path} is not an IDX file: it begins with {head.hex(' ') or 'nothing'}; get it again"
        )
    sides = stream.read(4 * head[3])
    if len(sides) < 4 * head[3]:
        raise UserError(f"{path} is truncated; get it again")
    shape = struct.unpack(f">{head[3]}I", sides)
    dtype = np.dtype(_TYPES[head[2]])
    size = math.prod(shape) * dtype.itemsize
    if size > limit:
        raise UserError(f"{path} claims to hold {size:,} bytes, it is damaged; get it again")
    content = bytearray()
    while len(content) < size and (block := stream.read(min(_BLOCK, size - len(content)))):
        content += block
    if len(content) < size or stream.read(1):
        kind = "truncated" if len(content) < size else "longer than it says"
        raise UserError(f"{path} is {kind}: its head says {shape}; get it again")
    return np.frombuffer(content, dtype).reshape(shape)
