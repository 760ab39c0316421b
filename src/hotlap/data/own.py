"""Data sets of the user's own: a path of any kind that is recognised, or what Python already holds."""

from __future__ import annotations

import functools
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import PIL

from hotlap.data.archived import Unpacked
from hotlap.data.building import build_in_memory, check_bad
from hotlap.data.caching import through_cache
from hotlap.data.dataset import Dataset
from hotlap.data.examining import Examination
from hotlap.data.given import given_listing
from hotlap.data.listing import Listing
from hotlap.data.options import Columns, Options, Told
from hotlap.data.packing import build_pack
from hotlap.data.recognise import KINDS, Archives, recognise
from hotlap.errors import UserError
from hotlap.files import Notify, locked, read_error, silent, slug

_RULES = 2  # of classes, splits, sizes, and what a pack holds; another number makes every pack stale


@dataclass(frozen=True)
class OwnSource:
    """A path that was recognised, and the pack it goes into.

    Args:
        name: what the user asked for.
        origin: where it lies, absolute.
        pack: the packed file that belongs to it.
        fingerprint: what the pack must have been made from.
        options: how it is read.
        listing: what it holds, while the context lasts; an archive is unpacked for it. Hold `locked(pack)`.
        archived: whether it is unpacked.
    """

    name: str
    origin: str
    pack: Path
    fingerprint: str
    options: Options
    listing: Callable[[Notify], AbstractContextManager[Listing]]
    archived: bool

    @contextmanager
    def looked_at(self, notify: Notify) -> Iterator[Listing]:
        """The listing for one who does not hold the pack's lock, beside which archives are unpacked."""
        guard = locked(self.pack, notify) if self.archived else nullcontext()
        with guard, self.listing(notify) as listing:
            yield listing


def find_own(name: str, path: Path, columns: Columns, options: Options, cache: Path) -> OwnSource:
    """The set at `path`.

    Raises:
        UserError: there is nothing, or nothing that is known.
    """
    try:
        path = path.expanduser()
        real = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as err:
        if isinstance(err, FileNotFoundError | ValueError):
            raise UserError(f"{name}: there is no such file or folder; check the path") from None
        raise (read_error(err, path) if isinstance(err, OSError) else UserError(f"{name}: {err}")) from err
    if not (real.is_dir() or real.is_file()):
        raise UserError(f"{name} is neither a file nor a folder; --data takes {KINDS}")
    asked = [options.size, options.fit, columns.images, columns.labels, str(columns.root)]
    if options.classes is not None:
        asked += [*options.classes, str(options.channels)]
    key = hashlib.sha256(json.dumps([str(real), asked]).encode("utf-8", "surrogatepass")).hexdigest()[:12]
    pack = cache / "packed" / f"{slug(real.name.encode('utf-8', 'replace').decode())[:40]}-{key}.pack"
    found = recognise(real, columns)
    fingerprint = json.dumps([str(real), asked, found.stamp, _RULES, _version()])

    def listing(notify: Notify) -> AbstractContextManager[Listing]:
        if isinstance(found, Archives):
            return Unpacked(real, found, pack.with_name(pack.name + ".files"), columns, notify)
        return nullcontext(found.listing())

    return OwnSource(name, str(real), pack, fingerprint, options, listing, isinstance(found, Archives))


def load_own(source: OwnSource, notify: Notify, progress: Told | None) -> Dataset:
    """The set, memory-mapped from its pack, which is made first if need be.

    Raises:
        UserError: it cannot be read, there is nothing to train on, or `strict` and an image does not read.
    """

    def make() -> None:
        with source.listing(notify) as listing:
            _pack(source, listing, source.options, notify, progress)

    dataset = through_cache(source.pack, source.fingerprint, source.origin, make, notify)
    assert dataset.facts is not None
    check_bad(source.options.strict, dataset.facts.bad, dataset.facts.bad_count)
    for line in dataset.facts.lines():
        notify(line)
    return replace(dataset, name=source.name)


def read_anew(
    source: OwnSource, listing: Listing, examination: Examination, progress: Told | None
) -> dict[str, Any]:
    """Decode everything anew and keep nothing: what the pack's header would be."""
    return _pack(source, listing, replace(source.options, strict=False), silent, progress, examination)


def _pack(
    source: OwnSource,
    listing: Listing,
    options: Options,
    notify: Notify,
    progress: Told | None,
    examination: Examination | None = None,
) -> dict[str, Any]:
    return build_pack(
        source.pack,
        listing,
        source.name,
        source.origin,
        source.fingerprint,
        _version(),
        options,
        notify,
        progress,
        examination=examination,
    )


def load_given(source: Any, options: Options, notify: Notify, progress: Told | None) -> Dataset:
    """What Python holds as a data set in memory: see `given_listing`.

    Raises:
        UserError: it is none of these, or there is nothing to train on.
    """
    dataset = build_in_memory(given_listing(source), "images in memory", "memory", options, progress)
    assert dataset.facts is not None
    for line in dataset.facts.lines():
        notify(line)
    return dataset


@functools.cache
def _version() -> str:
    """Changes when the pixels could: with the decoder's own text, or with Pillow."""
    here, crc = Path(__file__).parent, 0
    for path in (here / "decode.py", here / "fit.py", *sorted((here / "formats").glob("*.py"))):
        crc = zlib.crc32(path.read_bytes(), crc)
    return f"{crc:08x}, Pillow {PIL.__version__}"
