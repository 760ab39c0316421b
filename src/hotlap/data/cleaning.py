"""What in the cache nobody needs any more."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from hotlap.data.packed import origin_of
from hotlap.errors import UserError
from hotlap.files import locked, user_cache, why


@dataclass(frozen=True)
class Removed:
    """A file that `clean` removed, or would: how many bytes it held, and why nobody needs it."""

    path: Path
    size: int
    reason: str


def clean(cache_dir: Path | None = None, *, dry_run: bool = False) -> tuple[Removed, ...]:
    """Remove packs and features whose source is gone or that do not read, and what killed processes left half
    written.

    Packs that are in use are waited for; those of sources that are there stay.

    Args:
        cache_dir: instead of the user's cache.
        dry_run: say what would go, and leave it.

    Raises:
        UserError: a file cannot be removed.
    """
    cache = user_cache(cache_dir)
    folder, features = cache / "packed", cache / "features"
    found = []
    for path in sorted(folder.glob("*.pack.files")):
        with locked(path.with_suffix("")):
            if path.exists():  # of a killed process: it is removed before the lock is let go
                size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
                found.append(Removed(path, size, "half unpacked"))
                _removed(path, dry_run)
    kept = [*folder.glob("*.pack"), *features.glob("*.safetensors")]
    half = [*folder.glob("*.pack.tmp"), *features.glob("*.safetensors.tmp")]
    for path in sorted(half) + sorted(kept):
        pack = path.with_suffix("") if path.suffix == ".tmp" else path
        with locked(pack):
            reason = needless(path)
            if reason is None:
                continue
            try:
                found.append(Removed(path, path.stat().st_size, reason))
                if not dry_run:
                    path.unlink()
            except FileNotFoundError:
                continue  # another process was quicker
            except OSError as err:
                raise UserError(f"cannot remove {path}: {why(err)}; mend that, or remove it by hand") from err
    return tuple(found)


def _removed(folder: Path, dry_run: bool) -> None:
    try:
        if not dry_run:
            shutil.rmtree(folder)
    except OSError as err:
        raise UserError(f"cannot remove {folder}: {why(err)}; mend that, or remove it by hand") from err


def needless(path: Path) -> str | None:
    """Why a file of the cache can go; None if it may be needed."""
    if path.suffix == ".tmp":
        return "half written"
    origin = origin_of_features(path) if path.suffix == ".safetensors" else origin_of(path)
    if origin is None:
        return "does not read"
    if os.path.isabs(origin) and not os.path.exists(origin):
        return f"its source {origin} is gone"
    return None


def origin_of_features(path: Path) -> str | None:
    """Where the images were that features were computed of (`transfer.features`); None if the file does not
    read. The head of a safetensors file is its length in 8 bytes, then JSON."""
    try:
        with path.open("rb") as file:
            head = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), 1 << 20)))
        return str(head["__metadata__"]["origin"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
