"""Many images decoded on all cores, in order, each once."""

from __future__ import annotations

import ctypes
import io
import multiprocessing
import signal
import sys
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from hotlap.data.decode import Picture, Unreadable, decode
from hotlap.data.fit import fit
from hotlap.data.listing import Listing, Payload, Pixels
from hotlap.data.sight import Sight, sight
from hotlap.data.sizing import sample
from hotlap.errors import UserError
from hotlap.machine.processor import processors

FEW = 256  # fewer images than these are decoded here: they take less than to start processes
_TOGETHER = 64  # images that a process is handed at once
_TOGETHER_BYTES = 1 << 22
_AHEAD = 4  # such handfuls a process, waiting or done
_COLOURS_SEEN = 32  # images looked at for colour; the decoding itself finds what these do not show
_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM")
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Decoding:
    """How each image is made alike.

    Args:
        size: (height, width).
        fit: `crop`, `pad` or `stretch`.
        channels: 1 or 3.
        gray: with one channel, whether colours are made gray; otherwise they are not expected.
        sights: whether it is also said what each looks like.
    """

    size: tuple[int, int]
    fit: str
    channels: int
    gray: bool = False
    sights: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return (*self.size, self.channels)


class Coloured(Exception):
    """There is an image in colour among those that are decoded to one channel."""


class Run(Protocol):
    def __call__(self, how: Decoding, payloads: Sequence[Payload]) -> Future[Made]: ...


Made = tuple[Pixels, Mapping[int, str], Sequence[Sight]]
"""Of a handful of images: pixels (n, H, W, C) of those that read, the reason of each other by its place, and
the sights of those that read, if they are wanted."""


def decoded(
    listing: Listing, indices: Sequence[int], how: Decoding, known: Mapping[int, Pixels]
) -> Iterator[tuple[Sequence[int], Pixels, Mapping[int, str], Sequence[Sight]]]:
    """The images of these items, decoded and fitted, in order and a handful at a time.

    Args:
        indices: items of the listing, ascending.
        known: (H, W, C) of items that need not be decoded.

    Yields:
        indices of items; pixels (n, H, W, C) uint8 of those of them that read, in that order; why the others
        do not, by item; if `how` wants them, the sights of those that were decoded.

    Raises:
        Coloured: `how` has one channel and an image has colour.
        UserError: the source cannot be read, or a process that decodes has died.
    """
    fresh = [i for i in indices if i not in known]
    payloads = listing.payloads(fresh)
    together = max(1, min(_TOGETHER, _TOGETHER_BYTES // int(np.prod(how.shape))))
    waiting: deque[tuple[Sequence[int], Future[Made]]] = deque()
    with _processes(len(fresh) if listing.encoded or how.sights else 0) as (run, ahead):
        for start in range(0, len(indices), together):
            some = indices[start : start + together]
            waiting.append((some, run(how, [next(payloads) for i in some if i not in known])))
            while len(waiting) > ahead:
                yield _merged(*waiting.popleft(), how, known)
        while waiting:
            yield _merged(*waiting.popleft(), how, known)


def _merged(
    some: Sequence[int], future: Future[Made], how: Decoding, known: Mapping[int, Pixels]
) -> tuple[Sequence[int], Pixels, Mapping[int, str], Sequence[Sight]]:
    """What was decoded, and what need not be, in one."""
    try:
        pixels, reasons, sights = future.result()
    except BrokenExecutor:
        raise UserError(
            "a process that decodes images was killed; free memory, or look for a damaged image among the"
            " last ones"
        ) from None
    fresh = [i for i in some if i not in known]
    bad = {fresh[place]: reason for place, reason in reasons.items()}
    if len(fresh) == len(some):
        return some, pixels, bad, sights
    rows, made = iter(pixels), []
    for i in some:
        if i in known:
            made.append(known[i])
        elif i not in bad:
            made.append(next(rows))
    return some, np.stack(made) if made else np.empty((0, *how.shape), np.uint8), bad, sights


def decode_some(how: Decoding, payloads: Sequence[Payload]) -> Made:
    """Decode and fit each of the payloads."""
    out, reasons, count = np.empty((len(payloads), *how.shape), np.uint8), {}, 0
    sights = []
    for place, payload in enumerate(payloads):
        made = _picture(payload, how.channels, how.gray)
        if isinstance(made, str):
            reasons[place] = made
        else:
            out[count] = fit(made.pixels, how.size, how.fit)
            count += 1
            if how.sights:
                sights.append(sight(made))
    return out[:count], reasons, sights


def _picture(payload: Payload, channels: int, gray: bool = False) -> Picture | str:
    if isinstance(payload, str):
        return payload
    if isinstance(payload, np.ndarray):
        picture = Picture(payload, "L" if payload.shape[2] == 1 else "RGB", kind="array")
    else:
        try:
            picture = decode(payload, channels=channels if channels > 1 or gray else None)
        except Unreadable as err:
            return str(err)
        except MemoryError:
            return "too large for the memory here"
    pixels = picture.pixels
    if pixels.shape[2] == channels:
        return picture
    if channels == 1:
        if not gray:
            raise Coloured
        return replace(picture, pixels=np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None])
    return replace(picture, pixels=np.broadcast_to(pixels, (*pixels.shape[:2], channels)))


def look(listing: Listing, indices: Sequence[int]) -> tuple[list[tuple[int, int]], int]:
    """The (height, width) of a sample of these items that read, and the channels: 1 if none shows colour,
    else 3.

    Raises:
        UserError: the source cannot be read.
    """
    chosen = [indices[i] for i in sample(len(indices))]
    sizes, channels, seen = [], 1, 0
    for payload in listing.payloads(chosen):
        size = _size(payload)
        if size is None:
            continue
        sizes.append(size)
        if channels == 1 and seen < _COLOURS_SEEN:
            seen += 1
            try:
                _picture(payload, 1)
            except Coloured:
                channels = 3
    return sizes, channels


def _size(payload: Payload) -> tuple[int, int] | None:
    """(height, width) by the head of an image alone, as it is to be seen; None if there is none."""
    if isinstance(payload, np.ndarray):
        return payload.shape[0], payload.shape[1]
    if isinstance(payload, str):
        return None
    source: Path | io.BytesIO = io.BytesIO(payload) if isinstance(payload, bytes) else payload
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(source, formats=_FORMATS) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    except Exception:  # Pillow raises nearly anything on damaged heads; decoding says what is wrong
        return None
    return (width, height) if turned else (height, width)


@contextmanager
def _processes(count: int) -> Iterator[tuple[Run, int]]:
    """What runs `decode_some`, on all cores if there is enough to do; and how many handfuls ahead to go."""
    cores = processors()
    if count < FEW or cores == 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield _here, 0
        return
    # Forked, for nothing then has to be imported and a script needs no `if __name__ == "__main__"`. What a
    # process does is to decode: it touches no torch, and no lock that another thread may hold.
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(cores, context, _begin)
    try:

        def run(how: Decoding, payloads: Sequence[Payload]) -> Future[Made]:
            with warnings.catch_warnings(action="ignore"):  # Python 3.12 warns of a fork beside threads
                return pool.submit(decode_some, how, payloads)

        yield run, _AHEAD * cores
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """In a process that decodes: the terminal's Ctrl-C is the parent's affair, and it ends with the
    parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _here(how: Decoding, payloads: Sequence[Payload]) -> Future[Made]:
    done: Future[Made] = Future()
    done.set_result(decode_some(how, payloads))
    return done
