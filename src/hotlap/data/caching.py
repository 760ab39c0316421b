"""A data set through the packed cache: mapped from its pack, which is made, or made again, if need be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hotlap.data.dataset import Dataset
from hotlap.data.packed import BadPack, open_pack
from hotlap.errors import UserError
from hotlap.files import Notify, locked, silent


def through_cache(
    pack: Path, fingerprint: str, origin: str, make: Callable[[], None], notify: Notify
) -> Dataset:
    """The data set in `pack`, which `make` writes if it is not there, stale or damaged.

    Raises:
        UserError: as `make`; or the cache cannot be written, or not read back.
    """
    dataset = _opened(pack, fingerprint, notify)
    if dataset is None:
        with locked(pack, notify):
            dataset = _opened(pack, fingerprint, silent)  # another process may have made it meanwhile
            if dataset is None:
                notify(f"packing {origin} into {pack}")
                make()
                dataset = _opened(pack, fingerprint, notify)
        if dataset is None:
            raise UserError(f"{pack} does not read back as written; check that disk, or set HOTLAP_CACHE")
    return dataset


def state_of(pack: Path, fingerprint: str) -> str:
    """`good`, `missing`, `stale: ...` or `corrupt: ...`."""
    try:
        open_pack(pack, fingerprint)
    except FileNotFoundError:
        return "missing"
    except BadPack as err:
        return str(err)
    return "good"


def _opened(pack: Path, fingerprint: str, notify: Notify) -> Dataset | None:
    try:
        return open_pack(pack, fingerprint, notify)
    except FileNotFoundError:
        return None
    except BadPack as err:
        notify(f"the packed cache {pack} is {err}; making it again")
        return None
