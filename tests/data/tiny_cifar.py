"""CIFAR in miniature, written by hand in each official form, and a small web server with faults."""

from __future__ import annotations

import hashlib
import http.server
import pickle
import struct
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from hotlap.data.cifar import SETS, CifarSet, Layout, Part
from hotlap.data.dataset import Split


def tiny(name: str = "cifar10", per_file: int = 3, test: int = 4, shape=(3, 4, 5)) -> CifarSet:
    """The set `name` with the official file names and `per_file` images in each file."""

    def small(layout: Layout) -> Layout:
        parts = tuple(replace(p, count=test if p.split == "test" else per_file) for p in layout.parts)
        return replace(layout, parts=parts, mirrors=())

    full = SETS[name]
    return replace(full, shape=shape, layouts=tuple(small(layout) for layout in full.layouts))


SMALL = tiny("cifar10", 40, 40, (3, 32, 32))  # as large as its images are, so that every recipe takes them


def layout_of(cifar: CifarSet, kind: str) -> Layout:
    return next(layout for layout in cifar.layouts if layout.kind == kind)


def random_splits(cifar: CifarSet, seed: int) -> dict[str, Split]:
    rng = np.random.default_rng(seed)
    channels, height, width = cifar.shape
    splits = {}
    for split in ("train", "test"):
        n = sum(p.count for p in cifar.layouts[0].parts if p.split == split)
        images = rng.integers(0, 256, (n, height, width, channels), dtype=np.uint8)
        splits[split] = Split(images, rng.integers(0, len(cifar.class_names), n))
    return splits


def write_folder(
    cifar: CifarSet, kind: str, splits: dict[str, Split], root: Path, style: str = "py2"
) -> Path:
    """Write `splits` as the release of that kind; pickles as Python 2 wrote them, or with protocol 2 or 5."""
    layout = layout_of(cifar, kind)
    folder = root / layout.folder
    folder.mkdir(parents=True)
    start = {"train": 0, "test": 0}
    for part in layout.parts:
        rows = slice(start[part.split], start[part.split] + part.count)
        start[part.split] += part.count
        content = part_bytes(cifar, kind, part, splits[part.split], rows, style)
        (folder / part.file).write_bytes(content)
    if kind == "binary":
        (folder / layout.names_file).write_text("\n".join(cifar.class_names) + "\n\n")
    else:
        names = [name.encode() for name in cifar.class_names]
        (folder / layout.names_file).write_bytes(pickle.dumps({cifar.names_key.encode(): names}, 2))
    return folder


def part_bytes(cifar: CifarSet, kind: str, part: Part, split: Split, rows: slice, style: str) -> bytes:
    pixels = np.ascontiguousarray(split.images[rows].transpose(0, 3, 1, 2)).reshape(part.count, -1)
    labels = split.labels[rows]
    if kind == "binary":
        column = labels.astype(np.uint8)[:, None]
        coarse = [column // 5] * (cifar.label_bytes - 1)
        return np.hstack([*coarse, column, pixels]).tobytes()
    if style == "py2":
        return python2_batch(pixels, labels.tolist(), cifar.label_key)
    if style == "fortran":
        pixels = np.asfortranarray(pixels)
    batch = {"data": pixels, cifar.label_key: labels.tolist(), "batch_label": part.file}
    return pickle.dumps(batch, 5 if style == "p5" else 2)


def python2_batch(pixels: np.ndarray, labels: list[int], key: str) -> bytes:
    """The opcodes of Python 2's cPickle, protocol 2: what the official archives hold."""

    def text(value: str) -> bytes:
        return b"U" + bytes([len(value)]) + value.encode()

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    raw = pixels.tobytes()
    dtype = (
        b"cnumpy\ndtype\n" + text("u1") + number(0) + number(1) + b"\x87R"
        b"(" + number(3) + text("|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    )
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        + number(0)
        + b"\x85"
        + text("b")
        + b"\x87R"
        b"(" + number(1) + number(pixels.shape[0]) + number(pixels.shape[1]) + b"\x86" + dtype + b"\x89"
        b"T" + struct.pack("<i", len(raw)) + raw + b"tb"
    )
    listed = b"](" + b"".join(number(n) for n in labels) + b"e"
    return b"\x80\x02}(" + text("data") + array + text(key) + listed + b"u."


def write_archive(cifar: CifarSet, kind: str, splits: dict[str, Split], root: Path) -> CifarSet:
    """Write the release's .tar.gz into `root`; the set that comes back knows its size and checksum."""
    folder = write_folder(cifar, kind, splits, root)
    path = root / layout_of(cifar, kind).archive
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, folder.name)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return with_archive(cifar, kind, path)


def with_archive(cifar: CifarSet, kind: str, path: Path, mirrors: tuple[str, ...] = ()) -> CifarSet:
    raw = path.read_bytes()
    md5 = hashlib.md5(raw).hexdigest()
    layouts = [
        replace(n, archive_bytes=len(raw), archive_md5=md5, mirrors=mirrors) if n.kind == kind else n
        for n in cifar.layouts
    ]
    return replace(cifar, layouts=tuple(layouts))


def same(got: Split, want: Split) -> bool:
    return (
        got.images.dtype == np.uint8
        and got.labels.dtype == np.int64
        and np.array_equal(got.images, want.images)
        and np.array_equal(got.labels, want.labels)
    )


def left_in(folder: Path) -> list[str]:
    """Every file below a folder, relative to it."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at any path.

    `cuts` holds, for each request in turn, how many bytes to send before the connection is cut
    (None: all of them); `asked` collects the Range header of each request.
    """

    daemon_threads = True

    def __init__(self, content: bytes, ranges: bool, cuts: list[int | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.ranges, self.cuts = content, ranges, cuts
        self.status: int | None = None
        self.shift = 0
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        cut = server.cuts.pop(0) if server.cuts else None
        if server.status is not None:
            self.send_error(server.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            first, total = start + server.shift, len(server.content)
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(content: bytes, *, ranges: bool = True, cuts: list[int | None] | None = None) -> Iterator[Server]:
    server = Server(content, ranges, cuts or [])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
