"""Pairs of hashes that differ in few bits, without comparing each with each.

Two hashes of 64 bits that differ in at most d bits differ in at most d // 4 of one of their four bands of 16
(pigeonhole). So for each band, and each way to change so few of its bits, hashes whose band comes out as
another's are compared whole. Source: Norouzi, Punjani, Fleet, "Fast exact search in Hamming space with
multi-index hashing", 2014.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt

_BANDS, _BAND_BITS = 4, 16
_TOGETHER = 1 << 20  # pairs compared at once
_ONES = np.array([i.bit_count() for i in range(1 << _BAND_BITS)], np.uint8)

Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]
"""Places i < j of two hashes, and in how many bits they differ."""


def near_pairs(hashes: npt.NDArray[np.uint64], most: int) -> Iterator[Pairs]:
    """Every pair of hashes that differ in at most `most` bits, once; some at a time, in no order.

    Args:
        hashes: (n,).
        most: 0 to 63; over 11 it takes long.
    """
    radius = most // _BANDS
    words = np.ascontiguousarray(hashes).view(np.uint16).reshape(-1, _BANDS)
    for band in range(_BANDS):
        order = np.argsort(words[:, band], kind="stable")
        keys = words[order, band].astype(np.int64)
        starts = np.searchsorted(keys, np.arange((1 << _BAND_BITS) + 1))
        for mask in _masks(radius):
            wanted = keys ^ mask
            first, end = starts[wanted], starts[wanted + 1]
            if mask == 0:
                first = np.arange(len(keys)) + 1  # those after it that have the same band
            counts = np.where((wanted > keys) | (mask == 0), end - first, 0)
            for a, b in _stretches(first, counts):
                i, j = order[a], order[b]
                bits = _ones(hashes[i] ^ hashes[j])
                total = (bits.view(np.uint32) * np.uint32(0x01010101) >> np.uint32(24))[:, 0]  # of four bytes
                near = np.flatnonzero(total <= most)
                near = near[(bits[near, :band] > radius).all(1)]  # what an earlier band finds is that band's
                i, j = i[near], j[near]
                if len(i):
                    yield np.minimum(i, j), np.maximum(i, j), total[near].astype(np.uint8)


def _ones(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """(n, 4): how many bits are set in each band. (numpy before 2.0 cannot count bits.)"""
    counts: npt.NDArray[np.uint8] = _ONES[values.view(np.uint16)].reshape(-1, _BANDS)
    return counts


def _masks(radius: int) -> Iterator[int]:
    for count in range(radius + 1):
        for places in combinations(range(_BAND_BITS), count):
            yield sum(1 << p for p in places)


def _stretches(
    first: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Each place p with each of `first[p]`, `first[p] + 1`, ... of which there are `counts[p]`."""
    places = np.flatnonzero(counts)
    totals = np.cumsum(counts[places])
    at = 0
    while at < len(places):
        done = totals[at - 1] if at else 0
        stop = max(at + 1, int(np.searchsorted(totals, done + _TOGETHER, "right")))
        some = places[at:stop]
        many = counts[some]
        begins = np.repeat(np.cumsum(many) - many, many)
        yield np.repeat(some, many), np.repeat(first[some], many) + np.arange(many.sum()) - begins
        at = stop
