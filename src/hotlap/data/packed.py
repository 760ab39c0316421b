"""The packed cache: a data set decoded once into one file that is mapped, not parsed, ever after.

    64 bytes  magic and zeros
    payload   each section at a multiple of 64 bytes: images uint8 NHWC, labels int64; of sets of one's own
              also keys, names in UTF-8 and where each name ends
    header    JSON: version, name, origin, fingerprint, class names, mean, std, sections, facts
    16 bytes  length of the header, its crc32 (little-endian), magic

The header comes last, so that a set larger than memory is written as it is decoded. Every byte of the payload
is checked at each start: crc32 runs at 2 GB/s a core, so 184 MB cost less than 0.1 s, and a flipped bit is
found before it is trained on. Of a pack over 1 GB, sizes and a sample are checked, another one each time. The
check reads, it does not map: pages of a map would count as the process's own.
"""

from __future__ import annotations

import json
import math
import os
import random
import struct
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from hotlap.data.dataset import Dataset, Split
from hotlap.data.facts import Facts
from hotlap.data.names import Names
from hotlap.errors import UserError
from hotlap.files import Notify, silent, why, write_atomically
from hotlap.spec import DataSpec

VERSION = 2
MAGIC = b"hotlap\x00P"
_TRAILER = struct.Struct("<II8s")
_ALIGN = 64
_START = MAGIC + bytes(_ALIGN - len(MAGIC))
_CHUNK_BYTES = 1 << 23
_WHOLE_BYTES = 1 << 30  # packs up to this are checked byte by byte at each start
_SAMPLED_CHUNKS = 32  # of each section of a larger one
_MISREAD = (KeyError, TypeError, ValueError, AttributeError)  # what a header that is none of ours raises


class BadPack(Exception):
    """A pack that cannot be used; its text says why (`stale: ...` or `corrupt: ...`)."""


class PackStream:
    """The bytes of a pack, made in order, while what goes into it is still being made.

    First `start`, then each `section`, then `end`; what they give is written one after another.
    """

    def __init__(self) -> None:
        self.sections: dict[str, dict[str, Any]] = {}
        self._offset = 0

    def start(self) -> bytes:
        return _START

    def section(
        self, name: str, dtype: str, row: tuple[int, ...], blocks: Iterable[npt.NDArray[Any]]
    ) -> Iterator[memoryview | bytes]:
        """The bytes of one section.

        Args:
            name: what it is found again by.
            dtype: of its elements, with the byte order: `|u1`, `<i8`.
            row: the shape of one row, () for a number a row.
            blocks: rows (n, *row), as many as there are.
        """
        sums, crc, filled, count, size = [], 0, 0, 0, 0
        for block in blocks:
            rows = np.ascontiguousarray(block, dtype)
            raw = rows.reshape(-1).view(np.uint8)
            count, size, at = count + len(rows), size + raw.size, 0
            while at < raw.size:
                part = raw[at : at + _CHUNK_BYTES - filled]
                crc, filled, at = zlib.crc32(part.data, crc), filled + part.size, at + part.size
                if filled == _CHUNK_BYTES:
                    sums.append(crc)
                    crc = filled = 0
            if raw.size:
                yield raw.data
        if filled:
            sums.append(crc)
        self.sections[name] = {
            "offset": self._offset,
            "shape": [count, *row],
            "dtype": dtype,
            "crc32": sums,
            "chunk": _CHUNK_BYTES,
        }
        self._offset += _aligned(size)
        yield bytes(_aligned(size) - size)

    def end(self, header: dict[str, Any]) -> bytes:
        """The rest of the file. `header` says what the sections cannot."""
        full = {"version": VERSION, **header, "payload_bytes": self._offset, "sections": self.sections}
        text = json.dumps(full).encode()
        return text + _TRAILER.pack(len(text), zlib.crc32(text), MAGIC)


def write_pack(path: Path, dataset: Dataset, fingerprint: str) -> None:
    """Write `dataset`, all of it in memory, to `path`, whole or not at all. Hold `locked(path)`.

    Raises:
        UserError: it cannot be written (disk full, no permission); nothing is left behind.
    """
    splits = {"train": dataset.train, dataset.test_split: dataset.test, **dataset.held}
    stream = PackStream()

    def chunks() -> Iterator[bytes | memoryview]:
        yield stream.start()
        for name, split in splits.items():
            yield from stream.section(f"{name}_images", "|u1", split.images.shape[1:], [split.images])
            yield from stream.section(f"{name}_labels", "<i8", (), [split.labels])
        yield stream.end(header(dataset, fingerprint, list(splits)))

    write_atomically(path, chunks())


def header(dataset: Dataset, fingerprint: str, splits: list[str]) -> dict[str, Any]:
    """What the header of `dataset`'s pack says beside its sections."""
    return {
        "name": dataset.name,
        "origin": dataset.origin,
        "fingerprint": fingerprint,
        "class_names": dataset.spec.class_names,
        "mean": dataset.spec.mean,
        "std": dataset.spec.std,
        "splits": splits,
        "facts": dataset.facts.as_json() if dataset.facts else None,
    }


def open_pack(path: Path, fingerprint: str, notify: Notify = silent) -> Dataset:
    """Map the pack at `path` read-only, after checking that it is as written.

    Args:
        fingerprint: what the pack must have been made from.
        notify: told when the pack is so large that only a sample of it was checked.

    Raises:
        FileNotFoundError: there is no such file.
        BadPack: it was made from something else or by another version, or it is damaged.
        UserError: it cannot be read.
    """
    found, arrays = open_arrays(path, fingerprint, notify)
    try:
        return _dataset(found, arrays)
    except _MISREAD as err:
        raise BadPack(f"corrupt: bad header ({type(err).__name__})") from err


def open_arrays(
    path: Path, fingerprint: str | None = None, notify: Notify = silent, *, whole: bool = False
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """The header of the pack at `path` and its sections by name, mapped read-only and checked.

    Args:
        fingerprint: what the pack must have been made from; None takes any.
        whole: check every byte, however large it is.

    Raises:
        As `open_pack`.
    """
    try:
        with path.open("rb") as file:
            found, payload = read_header(file)
            try:
                if fingerprint is not None and found["fingerprint"] != fingerprint:
                    raise BadPack("stale: its source has changed")
                sampled = payload > _WHOLE_BYTES and not whole
                _check(file, found["sections"], sampled, path, notify)
                return found, _mapped(file, found["sections"])
            except _MISREAD as err:
                raise BadPack(f"corrupt: bad header ({type(err).__name__})") from err
    except (FileNotFoundError, NotADirectoryError) as err:
        raise FileNotFoundError(path) from err
    except OSError as err:
        raise UserError(f"cannot read {path}: {why(err)}; mend that, or set HOTLAP_CACHE") from err


def origin_of(path: Path) -> str | None:
    """Where the images of the pack at `path` came from; None if it is no pack that reads."""
    try:
        with path.open("rb") as file:
            return str(read_header(file)[0]["origin"])
    except (OSError, KeyError, BadPack):
        return None


def read_header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The header of an open pack, and the bytes of its payload.

    Raises:
        BadPack: it is of another version, or does not read.
    """
    size = os.fstat(file.fileno()).st_size
    if size < _ALIGN + _TRAILER.size:
        raise BadPack("corrupt: it is too short")
    start = os.pread(file.fileno(), _ALIGN, 0)
    length, crc, magic = _TRAILER.unpack(os.pread(file.fileno(), _TRAILER.size, size - _TRAILER.size))
    if magic != MAGIC and start.startswith(MAGIC) and start != _START:
        raise BadPack(f"stale: format version 1 or damaged, this program writes {VERSION}")
    at = size - _TRAILER.size - length
    text = os.pread(file.fileno(), length, at) if at >= _ALIGN else b""
    if start != _START or magic != MAGIC or len(text) != length or zlib.crc32(text) != crc:
        raise BadPack("corrupt: bad header")
    try:
        found = json.loads(text)
        version, payload = found["version"], found["payload_bytes"]
    except (ValueError, KeyError, TypeError) as err:
        raise BadPack("corrupt: bad header") from err
    if version != VERSION:
        raise BadPack(f"stale: format version {version}, this program writes {VERSION}")
    if at != _ALIGN + payload:
        raise BadPack(f"corrupt: {at:,} bytes, expected {_ALIGN + payload:,}")
    return found, payload


def _dataset(found: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Dataset:
    splits = {name: _split(name, arrays) for name in found["splits"]}
    (_, train), (test_split, test), *held = splits.items()
    _, height, width, channels = train.images.shape
    spec = DataSpec(
        shape=(channels, height, width),
        class_names=tuple(found["class_names"]),
        train_count=len(train),
        test_count=len(test),
        mean=tuple(found["mean"]),
        std=tuple(found["std"]),
    )
    facts = Facts.from_json(found["facts"]) if found["facts"] else None
    return Dataset(found["name"], spec, train, test, found["origin"], dict(held), test_split, facts)


def _split(name: str, arrays: dict[str, npt.NDArray[Any]]) -> Split:
    text = arrays.get(f"{name}_names")
    names = None if text is None else Names(text, arrays[f"{name}_name_ends"])
    return Split(arrays[f"{name}_images"], arrays[f"{name}_labels"], names)


def _mapped(file: BinaryIO, sections: dict[str, dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    raw = np.asarray(np.memmap(file, np.uint8, mode="r"))[_ALIGN:]
    arrays = {}
    for name, section in sections.items():
        offset, size = section["offset"], _bytes(section)
        typed: npt.NDArray[Any] = raw[offset : offset + size].view(section["dtype"])
        arrays[name] = typed.reshape(section["shape"])
    return arrays


def _check(
    file: BinaryIO, sections: dict[str, dict[str, Any]], sampled: bool, path: Path, notify: Notify
) -> None:
    """Compare checksums: of every chunk, or of a sample of a large pack's."""
    wanted, total = [], 0
    for name, section in sections.items():
        size, chunk, sums = _bytes(section), section["chunk"], section["crc32"]
        if len(sums) != -(-size // chunk):
            raise BadPack(f"corrupt: bad header of {name.replace('_', ' ')}")
        total += len(sums)
        places = list(range(len(sums)))
        if sampled and len(places) > _SAMPLED_CHUNKS:
            places = sorted({0, places[-1], *random.sample(places, _SAMPLED_CHUNKS)})
        start = _ALIGN + section["offset"]
        wanted += [(name, start + i * chunk, min(chunk, size - i * chunk), sums[i]) for i in places]

    def right(one: tuple[str, int, int, int]) -> bool:
        _, at, size, crc = one
        return zlib.crc32(os.pread(file.fileno(), size, at)) == crc

    # reading and crc32 let go of the interpreter, so threads do help
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for one, good in zip(wanted, pool.map(right, wanted), strict=True):
            if not good:
                raise BadPack(f"corrupt: wrong checksum of {one[0].replace('_', ' ')}")
    if len(wanted) < total:
        notify(
            f"{path} is large: its header, its size and {len(wanted)} of its {total} parts, drawn at random,"
            " were checked"
        )


def _bytes(section: dict[str, Any]) -> int:
    count: int = math.prod(section["shape"])
    size: int = np.dtype(section["dtype"]).itemsize
    return count * size


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
