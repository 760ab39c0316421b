"""A listing decoded into a pack, and what of the pack before it need not be decoded again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hotlap.data.building import KEY_BYTES, Building
from hotlap.data.dataset import Dataset, Split
from hotlap.data.decoding import Coloured, Decoding
from hotlap.data.examining import Examination
from hotlap.data.listing import Listing, Pixels
from hotlap.data.options import Options, Told
from hotlap.data.packed import BadPack, PackStream, header, open_arrays
from hotlap.files import Notify, write_atomically


def build_pack(
    path: Path,
    listing: Listing,
    name: str,
    origin: str,
    fingerprint: str,
    version: str,
    options: Options,
    notify: Notify,
    progress: Told | None = None,
    *,
    examination: Examination | None = None,
) -> dict[str, Any]:
    """Decode `listing` into the pack at `path`, whole or not at all; hold `locked(path)`. Returns its header.

    Images whose names, sizes and times are as in the pack that lies there now are taken over from it.

    Args:
        version: of what decodes; only images decoded by the same are taken over.
        examination: is given every image instead: everything is decoded, nothing is written.

    Raises:
        UserError: as `Building`; or it cannot be written.
    """

    def known(how: Decoding) -> Mapping[bytes, Pixels]:
        return _taken_over(path, _decoding(how, version)) if examination is None else {}

    channels = None
    while True:
        taken = examination.begin() if examination else None
        building = Building(listing, name, origin, options, known, progress, channels, taken)
        made: dict[str, Any] = {}
        chunks = _chunks(building, fingerprint, version, made)
        try:
            if examination is None:
                write_atomically(path, chunks)
            else:
                for _ in chunks:
                    pass
        except Coloured:
            notify("an image in colour among gray ones: decoding all of them in colour")
            channels = 3
            continue
        return made


def _chunks(
    building: Building, fingerprint: str, version: str, made: dict[str, Any]
) -> Iterator[bytes | memoryview]:
    """The bytes of the pack, while it is built; at the end, `made` is its header."""
    stream, shape = PackStream(), building.how.shape
    yield stream.start()
    for split in building.division.splits:
        yield from stream.section(f"{split}_images", "|u1", shape, building.blocks(split))
    spec, facts, labels = building.finish()
    for split, of in labels.items():
        yield from stream.section(f"{split}_labels", "<i8", (), [of])
        keys = np.frombuffer(b"".join(building.built[split].keys), np.uint8).reshape(-1, KEY_BYTES)
        yield from stream.section(f"{split}_keys", "|u1", (KEY_BYTES,), [keys])
        names = building.names(split)
        yield from stream.section(f"{split}_names", "|u1", (), [names.text])
        yield from stream.section(f"{split}_name_ends", "<i8", (), [names.ends])
    nothing = Split(np.empty((0, *shape), np.uint8), np.empty(0, np.int64))
    dataset = Dataset(building.name, spec, nothing, nothing, building.origin, facts=facts)
    made.update(header(dataset, fingerprint, list(labels)), decoding=_decoding(building.how, version))
    yield stream.end(made)
    made["sections"] = stream.sections


def _decoding(how: Decoding, version: str) -> str:
    return json.dumps([how.size, how.fit, how.channels, version])


def _taken_over(path: Path, decoding: str) -> Mapping[bytes, Pixels]:
    """The images of the pack at `path` by key, if they were decoded this way; mapped, not in memory."""
    try:
        found, arrays = open_arrays(path, whole=True)
        if found.get("decoding") != decoding:
            return {}
        return {
            bytes(key): image
            for split in found["splits"]
            for key, image in zip(arrays[f"{split}_keys"], arrays[f"{split}_images"], strict=True)
        }
    except (FileNotFoundError, BadPack, KeyError, ValueError):
        return {}
