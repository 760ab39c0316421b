"""Augmentation and resizing of one image at a time, in float64, by loops; nothing shared with the library.

Images are (C, H, W). Everything random comes in as arguments, by what it means: shifts, corners, shares.
"""

from __future__ import annotations

import numpy as np


def normalised(image_u8, mean, std):
    """(H, W, C) uint8 to (C, H, W) float64."""
    h, w, c = image_u8.shape
    out = np.empty((c, h, w))
    for k in range(c):
        out[k] = (image_u8[:, :, k].astype(np.float64) - mean[k]) / std[k]
    return out


def moved(image, down, right):
    """Each pixel read `down` rows and `right` columns further on, the edge mirrored without repeating it."""
    _, h, w = image.shape
    out = np.empty_like(image)
    for i in range(h):
        for j in range(w):
            out[:, i, j] = image[:, mirrored(i + down, h), mirrored(j + right, w)]
    return out


def mirrored(at, n):
    if at < 0:
        return -at
    return 2 * (n - 1) - at if at >= n else at


def flipped(image):
    return image[:, :, ::-1].copy()


def cut(image, top, left, side):
    out = image.copy()
    for i in range(top, top + side):
        for j in range(left, left + side):
            out[:, i, j] = 0
    return out


def jittered(image, brightness, contrast):
    return (image + brightness) * contrast


def one_hot(label, classes):
    out = np.zeros(classes)
    out[label] = 1
    return out


def mixed_up(images, targets, shares):
    """Each image and target blended with the next one of the batch, the last one with the first."""
    made, wanted = [], []
    for b, share in enumerate(shares):
        other = (b + 1) % len(images)
        made.append((1 - share) * images[b] + share * images[other])
        wanted.append((1 - share) * targets[b] + share * targets[other])
    return made, wanted


def cut_and_mixed(images, targets, corners, side):
    """A square of the next image in each, at `corners` (top, left), or nothing where that is None."""
    made, wanted = [], []
    for b, corner in enumerate(corners):
        image, target = images[b].copy(), targets[b].copy()
        if corner is not None:
            other = (b + 1) % len(images)
            top, left = corner
            for i in range(top, top + side):
                for j in range(left, left + side):
                    image[:, i, j] = images[other][:, i, j]
            area = side * side / (image.shape[1] * image.shape[2])
            target = (1 - area) * target + area * targets[other]
        made.append(image)
        wanted.append(target)
    return made, wanted


def shrunk(image, height, width):
    """Resized by a triangle filter whose half-width is the ratio of the sides, rows then columns."""
    return along(along(image, 1, height), 2, width)


def along(image, axis, n):
    source = np.moveaxis(image, axis, 0)
    ratio = len(source) / n
    out = np.zeros((n, *source.shape[1:]))
    for i in range(n):
        centre, total = (i + 0.5) * ratio, 0.0
        for j in range(len(source)):
            weight = max(0.0, 1 - abs(j + 0.5 - centre) / max(ratio, 1.0))
            out[i] += weight * source[j]
            total += weight
        out[i] /= total
    return np.moveaxis(out, 0, axis)
