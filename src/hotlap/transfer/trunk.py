"""Which trunk a machine has time for: measured once, the largest that fits is taken."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from hotlap.errors import UserError
from hotlap.files import Notify, silent, slug, user_cache, write_atomic
from hotlap.machine.backend import Backend
from hotlap.machine.choices import likely_precisions
from hotlap.machine.facts import machine_key
from hotlap.machine.race import SHARE_S, race
from hotlap.machine.telling import MEASURING, say, told
from hotlap.nets.build import build_net
from hotlap.nets.describe import LITES, EfficientNetLite
from hotlap.nets.folding import FrozenNetwork, folded
from hotlap.nets.network import Network
from hotlap.nets.pretrained import CLASSES, INSTALL, MEAN, STD, available, imagenet_weights
from hotlap.spec import DataSpec
from hotlap.transfer.head import Opinion

Variant = Literal["lite0", "lite1", "lite2"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
SIZES = (1, 8)  # images of a timed forward pass


@dataclass(frozen=True)
class Speed:
    """Images per second of a trunk at its own size, in the precision that was faster on this machine."""

    precision: str
    images_per_s: float


@dataclass(frozen=True)
class Trunk:
    """A net with its ImageNet weights: as it is, and made fast for features."""

    variant: Variant
    network: Network
    fast: FrozenNetwork
    opinion: Opinion

    @property
    def name(self) -> str:
        """What features depend on, beside the image."""
        return f"{self.variant}, ImageNet, {self.fast.backend.precision}"


def imagenet_spec(variant: Variant) -> DataSpec:
    """What a trunk reads: RGB of its size, normalised as its weights want it."""
    side = LITES[variant].size
    names = tuple(f"imagenet {i}" for i in range(CLASSES))
    return DataSpec((3, side, side), names, 1, 1, MEAN, STD)


def open_trunk(variant: Variant, backend: Backend) -> Trunk:
    """The trunk with its weights.

    Raises:
        UserError: its package is not installed, or damaged.
    """
    network = build_net(EfficientNetLite(variant), imagenet_spec(variant))
    network.load_state_dict(imagenet_weights(variant))
    network.requires_grad_(False).eval()
    held = network.head.state_dict()
    opinion = Opinion(held["weight"].clone(), held["bias"].clone())
    return Trunk(variant, network, folded(network, backend), opinion)


def choose(images: int, seconds: float, speeds: dict[Variant, Speed]) -> Variant:
    """The largest trunk that looks at so many images, views counted, in time; the smallest if none does."""
    fits = [v for v in VARIANTS if v in speeds and images / speeds[v].images_per_s <= seconds]
    return fits[-1] if fits else next(v for v in VARIANTS if v in speeds)


def measured_speeds(
    backend: Backend,
    variants: Sequence[Variant] | None = None,
    cache_dir: Path | None = None,
    notify: Notify = silent,
) -> dict[Variant, Speed]:
    """Images per second of each trunk whose weights are here, measured once a machine and kept.

    Raises:
        UserError: no weights are here.
    """
    wanted = [v for v in VARIANTS if v in (variants or available())]
    if not wanted:
        raise UserError(f"photos: there are no ImageNet weights on this machine; {INSTALL}")
    found = {v: s for v, s in kept(backend, cache_dir).items() if v in wanted}
    if missing := [v for v in wanted if v not in found]:
        with told(notify):
            say(MEASURING)
            for variant in missing:
                found[variant] = speed(variant, backend, found, SHARE_S / len(missing))
        keep(backend, found, cache_dir)
    return found


def path_of(backend: Backend, cache_dir: Path | None) -> Path:
    device = backend.device
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return user_cache(cache_dir) / f"trunks-{slug(on)}-{machine_key()}.json"


def kept(backend: Backend, cache_dir: Path | None) -> dict[Variant, Speed]:
    """What was measured on this machine before."""
    found: dict[Variant, Speed] = {}
    with suppress(OSError, ValueError, AttributeError):
        rows = json.loads(path_of(backend, cache_dir).read_text())
        for variant in VARIANTS:
            with suppress(KeyError, TypeError, ValueError):
                precision, rate = rows[variant]
                found[variant] = Speed(str(precision), float(rate))
    return found


def keep(backend: Backend, found: dict[Variant, Speed], cache_dir: Path | None) -> None:
    """Write these beside what is kept; without a cache the next start measures again."""
    held = {**kept(backend, cache_dir), **found}
    rows = {v: [s.precision, s.images_per_s] for v, s in held.items()}
    with suppress(UserError):
        write_atomic(path_of(backend, cache_dir), json.dumps(rows).encode())


def remember(variant: Variant, seen: Speed, backend: Backend, cache_dir: Path | None = None) -> None:
    """Keep the rate that a run had, if it is better than the one that was measured: a machine that was busy
    then would else be thought slow for ever."""
    known = measured_speeds(backend, [variant], cache_dir)
    if seen.images_per_s > known[variant].images_per_s:
        keep(backend, {variant: seen}, cache_dir)


def speed(variant: Variant, backend: Backend, known: dict[Variant, Speed], budget_s: float) -> Speed:
    """Time one trunk; in the precision that was faster for another trunk, if one was timed."""
    network = build_net(EfficientNetLite(variant), imagenet_spec(variant))
    network.reset(torch.Generator().manual_seed(0))
    side = LITES[variant].size

    @functools.cache
    def fast(precision: str) -> FrozenNetwork:
        return folded(network, replace(backend, precision=precision, memory_format="channels_last"))

    def looking(precision: str, images: int) -> Callable[[], Tensor]:
        net = fast(precision)
        x = torch.zeros(images, 3, side, side).contiguous(memory_format=torch.channels_last)
        return lambda: net.features(x).sum().cpu()  # which a device has to have done first

    precisions = list(dict.fromkeys(s.precision for s in known.values())) or likely_precisions()
    took = race({p: partial(looking, p) for p in precisions}, SIZES, budget_s, alone=True)
    best = min(took, key=lambda p: took[p])
    return Speed(best, SIZES[-1] / took[best])
