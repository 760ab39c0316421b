"""The packed cache: a data set decoded once into one file that is mapped, not parsed, ever after.

    8 bytes   magic
    4 bytes   length of the header, 4 bytes its crc32 (little-endian)
    header    JSON: version, name, origin, fingerprint, class names, mean, std, sections
    payload   each section at a multiple of 64 bytes: images uint8 NHWC, labels int64

Every byte of the payload is checked at each start: crc32 runs at 2 GB/s a core, so 184 MB cost
less than 0.1 s, and a flipped bit is found before it is trained on.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hotlap.data.dataset import Dataset, Split
from hotlap.errors import UserError
from hotlap.files import why, write_atomically
from hotlap.spec import DataSpec

VERSION = 1
MAGIC = b"hotlap\x00P"
_PREFIX = struct.Struct("<8sII")
_ALIGN = 64
_CHUNK_BYTES = 1 << 23
_STATS_IMAGES = 512


class BadPack(Exception):
    """A pack that cannot be used; its text says why (`stale: ...` or `corrupt: ...`)."""


def data_spec(images: npt.NDArray[np.uint8], class_names: Sequence[str], *, test_count: int) -> DataSpec:
    """Describe a data set by its training images.

    Mean and std (of the population) are exact: sums of 0-255 integers in float64 stay below 2**53
    in each chunk, and Python's integers carry them on. Memory stays at a few hundred images.

    Args:
        images: (N, H, W, C) uint8, N at least 1.
        class_names: names in label order.
        test_count: number of test images.
    """
    count, height, width, channels = images.shape
    total, squares = [0] * channels, [0] * channels
    for start in range(0, count, _STATS_IMAGES):
        chunk = images[start : start + _STATS_IMAGES].reshape(-1, channels)
        for c in range(channels):
            x = chunk[:, c].astype(np.float64)
            total[c] += int(x.sum())
            squares[c] += int(x @ x)
    n = count * height * width
    return DataSpec(
        shape=(channels, height, width),
        class_names=tuple(class_names),
        train_count=count,
        test_count=test_count,
        mean=tuple(t / n for t in total),
        std=tuple(((n * s - t * t) / (n * n)) ** 0.5 for t, s in zip(total, squares, strict=True)),
    )


def write_pack(path: Path, dataset: Dataset, fingerprint: str) -> None:
    """Write `dataset` to `path`, whole or not at all. Hold `locked(path)`.

    Raises:
        UserError: it cannot be written (disk full, no permission); nothing is left behind.
    """
    arrays = {
        "train_images": np.ascontiguousarray(dataset.train.images, np.uint8),
        "train_labels": np.ascontiguousarray(dataset.train.labels, "<i8"),
        "test_images": np.ascontiguousarray(dataset.test.images, np.uint8),
        "test_labels": np.ascontiguousarray(dataset.test.labels, "<i8"),
    }
    sections: dict[str, dict[str, Any]] = {}
    offset = 0
    for name, array in arrays.items():
        sections[name] = {
            "offset": offset,
            "shape": array.shape,
            "dtype": array.dtype.str,
            "crc32": _checksums([array.reshape(-1).view(np.uint8)])[0],
        }
        offset += _aligned(array.nbytes)
    header = json.dumps(
        {
            "version": VERSION,
            "name": dataset.name,
            "origin": dataset.origin,
            "fingerprint": fingerprint,
            "class_names": dataset.spec.class_names,
            "mean": dataset.spec.mean,
            "std": dataset.spec.std,
            "payload_bytes": offset,
            "sections": sections,
        }
    ).encode()
    write_atomically(path, _file(header, list(arrays.values())))


def open_pack(path: Path, fingerprint: str) -> Dataset:
    """Map the pack at `path` read-only, after checking that every byte is as written.

    Args:
        fingerprint: what the pack must have been made from.

    Raises:
        FileNotFoundError: there is no such file.
        BadPack: it was made from something else or by another version, or it is damaged.
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _PREFIX.size:
                raise BadPack("corrupt: it is too short")
            raw = np.asarray(np.memmap(file, np.uint8, mode="r"))
    except (FileNotFoundError, NotADirectoryError) as err:
        raise FileNotFoundError(path) from err
    except OSError as err:
        raise UserError(f"cannot read {path}: {why(err)}; mend that, or set HOTLAP_CACHE") from err
    header, start = _header(raw)
    try:
        if header["version"] != VERSION:
            raise BadPack(f"stale: format version {header['version']}, this program writes {VERSION}")
        if header["fingerprint"] != fingerprint:
            raise BadPack("stale: its source has changed")
        if size != start + header["payload_bytes"]:
            raise BadPack(f"corrupt: {size:,} bytes, expected {start + header['payload_bytes']:,}")
        return _dataset(header, raw[start:])
    except (KeyError, TypeError, ValueError) as err:
        raise BadPack(f"corrupt: bad header ({type(err).__name__})") from err


def origin_of(path: Path) -> str | None:
    """Where the images of the pack at `path` came from; None if it is no pack that reads."""
    try:
        with path.open("rb") as file:
            head = file.read(_PREFIX.size)
            length = _PREFIX.unpack(head)[1]
            raw = np.frombuffer(head + file.read(length), np.uint8)
        return str(_header(raw)[0]["origin"])
    except (OSError, struct.error, KeyError, BadPack):
        return None


def _dataset(header: dict[str, Any], payload: npt.NDArray[np.uint8]) -> Dataset:
    sections = header["sections"]
    spans = {}
    for name, section in sections.items():
        size = int(np.prod(section["shape"], dtype=np.int64)) * np.dtype(section["dtype"]).itemsize
        spans[name] = payload[section["offset"] : section["offset"] + size]
    for (name, section), sums in zip(sections.items(), _checksums(list(spans.values())), strict=True):
        if sums != section["crc32"]:
            raise BadPack(f"corrupt: wrong checksum of {name.replace('_', ' ')}")

    def array(name: str) -> npt.NDArray[Any]:
        typed: npt.NDArray[Any] = spans[name].view(sections[name]["dtype"])
        return typed.reshape(sections[name]["shape"])

    train = Split(array("train_images"), array("train_labels"))
    test = Split(array("test_images"), array("test_labels"))
    _, height, width, channels = train.images.shape
    spec = DataSpec(
        shape=(channels, height, width),
        class_names=tuple(header["class_names"]),
        train_count=len(train),
        test_count=len(test),
        mean=tuple(header["mean"]),
        std=tuple(header["std"]),
    )
    return Dataset(header["name"], spec, train, test, header["origin"])


def _header(raw: npt.NDArray[np.uint8]) -> tuple[dict[str, Any], int]:
    """The parsed header and where the payload starts."""
    magic, length, crc = _PREFIX.unpack(raw[: _PREFIX.size].tobytes())
    text = raw[_PREFIX.size : _PREFIX.size + length].tobytes()
    if magic != MAGIC or len(text) != length or zlib.crc32(text) != crc:
        raise BadPack("corrupt: bad header")
    try:
        header = json.loads(text)
    except ValueError as err:
        raise BadPack("corrupt: bad header") from err
    if not isinstance(header, dict):
        raise BadPack("corrupt: bad header")
    return header, _aligned(_PREFIX.size + length)


def _file(header: bytes, arrays: list[npt.NDArray[Any]]) -> Iterator[bytes | memoryview]:
    prefix = _PREFIX.pack(MAGIC, len(header), zlib.crc32(header)) + header
    yield prefix + bytes(_aligned(len(prefix)) - len(prefix))
    for array in arrays:
        yield array.reshape(-1).view(np.uint8).data
        yield bytes(_aligned(array.nbytes) - array.nbytes)


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def _checksums(spans: Sequence[npt.NDArray[np.uint8]]) -> list[list[int]]:
    """crc32 of each 8 MiB of each span; crc32 lets go of the interpreter, so threads do help."""
    chunks = [[s[i : i + _CHUNK_BYTES] for i in range(0, s.size, _CHUNK_BYTES)] for s in spans]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        sums = pool.map(zlib.crc32, [chunk for span in chunks for chunk in span])
        return [[next(sums) for _ in span] for span in chunks]
