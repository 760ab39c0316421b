"""Which images show the same: identical pixels, or nearly so.

Two images are nearly the same if their perceptual hashes differ in at most 10 of 64 bits, and on a second
look the edges in their thumbnails correlate. Edges, since two photographs of a dark thing on a blue sky have
nearly the same colours at the same places, but not the same outlines. How high the correlation must be is
measured on the set: five deviations above what two images of one class have (Fisher's z), from 0.7 to 0.98.
So digits, of which many look alike and none is a copy, are held to more than photographs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hotlap.data.examining import Examination
from hotlap.data.near import near_pairs
from hotlap.data.sight import hasher

DISTANCE = 10
_LOOKS = 1_000_000  # pairs of images that are looked at a second time
_LEAST, _MOST = 0.7, 0.98
_FEW = 0.9  # where a set is too small to measure on
_FEWEST = 30  # pairs to measure on
_SAMPLE = 4000
_DEVIATIONS = 5.0
_QUARTILES = 1.349  # between them, in deviations of a normal distribution
_TOGETHER = 4096  # pairs of thumbnails


@dataclass(frozen=True)
class Alike:
    """Images that show the same.

    Args:
        groups: places of two or more images each, ascending; an image is in one group at most.
        distance: the bits that hashes could differ in; -1 if hashes could not tell the images apart, None if
            nearly the same images were not looked for.
        correlation: what the edges of two thumbnails had to correlate by; 0 if none were compared.
    """

    groups: tuple[tuple[int, ...], ...]
    distance: int | None
    correlation: float


def find_alike(found: Examination, labels: npt.NDArray[np.int64]) -> Alike:
    """Look for images that show the same.

    Args:
        found: what all images look like.
        labels: (n,) of their classes.
    """
    pictures = found.pictures
    copies = np.flatnonzero(pictures != np.arange(len(pictures)))
    edges = [np.stack([copies, pictures[copies]])]
    distance, correlation = None, 0.0
    if hasher() is not None:
        at = np.flatnonzero((pictures == np.arange(len(pictures))) & found.hashed)
        i, j, distance = _candidates(found.hashes[at])
        if len(i):
            thumbs = found.thumbs
            correlation = _needed(thumbs, at, labels[at])
            same = _correlations(thumbs, at[i], at[j]) >= correlation
            edges.append(np.stack([at[i[same]], at[j[same]]]))
    return Alike(_groups(np.concatenate(edges, 1), len(pictures)), distance, correlation)


def _candidates(
    hashes: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Pairs of hashes that are near, and how many bits may differ: fewer where there are too many pairs."""
    within, count = DISTANCE, 0
    kept: list[npt.NDArray[np.int64]] = [np.empty((3, 0), np.int64)]
    for pairs in near_pairs(hashes, DISTANCE):
        kept.append(np.stack(pairs).astype(np.int64)[:, pairs[2] <= within])
        count += kept[-1].shape[1]
        while count > _LOOKS:
            within -= 1
            kept = [k[:, k[2] <= within] for k in kept]
            count = sum(k.shape[1] for k in kept)
        if within < 0:
            break
    i, j, _ = np.concatenate(kept, 1)
    return i, j, within


def _needed(thumbs: npt.NDArray[np.uint8], at: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> float:
    """What the edges of two thumbnails must correlate by, measured on pairs of one class.

    By median and quartiles, so that a few pairs that are copies move nothing.

    Args:
        at: images that are not each other's copies, (n,).
        labels: (n,) of their classes.
    """
    order = np.argsort(labels, kind="stable")
    _, first, which, count = np.unique(
        labels[order], return_index=True, return_inverse=True, return_counts=True
    )
    random = np.random.default_rng(0)
    one = random.integers(0, len(at), _SAMPLE)
    other = first[which[one]] + (random.random(_SAMPLE) * count[which[one]]).astype(np.int64)
    pairs = np.unique(np.sort(np.stack([one, other]), 0)[:, one != other], axis=1)
    if pairs.shape[1] < _FEWEST:
        return _FEW
    r = _correlations(thumbs, at[order[pairs[0]]], at[order[pairs[1]]])
    low, middle, high = np.quantile(np.arctanh(np.clip(r, -0.999, 0.999)), (0.25, 0.5, 0.75))
    return float(np.clip(np.tanh(middle + _DEVIATIONS * (high - low) / _QUARTILES), _LEAST, _MOST))


def _correlations(
    thumbs: npt.NDArray[np.uint8], i: npt.NDArray[np.int64], j: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """(n,): how the edges of thumbnails `i` correlate with those of `j`."""
    made = [np.empty(0)]
    for start in range(0, len(i), _TOGETHER):
        some = slice(start, start + _TOGETHER)
        made.append(np.einsum("nd,nd->n", _edges(thumbs[i[some]]), _edges(thumbs[j[some]])))
    return np.concatenate(made)


def _edges(thumbs: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(n, d): the differences of neighbouring pixels, of length 1."""
    pixels = thumbs.astype(np.float32)
    steps = [np.diff(pixels, axis=axis).reshape(len(pixels), -1) for axis in (1, 2)]
    made = np.concatenate(steps, 1)
    length = np.linalg.norm(made, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = made / np.maximum(length, 1e-6)
    return unit


def _groups(edges: npt.NDArray[np.int64], count: int) -> tuple[tuple[int, ...], ...]:
    """The images that hang together by `edges` (2, m), where there are two or more."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    joined = np.unique(edges)
    if not len(joined):
        return ()
    graph = coo_array((np.ones(edges.shape[1], bool), tuple(edges)), (count, count))
    of = connected_components(graph, directed=False)[1][joined]
    order = np.argsort(of, kind="stable")
    parts = np.split(joined[order], np.flatnonzero(np.diff(of[order])) + 1)
    return tuple(sorted(tuple(p.tolist()) for p in parts))
