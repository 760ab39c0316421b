"""Download one file of known size and checksum: from several mirrors, resuming where it broke off."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hotlap.errors import UserError
from hotlap.files import Notify, locked, read_error, silent, why, write_error

_BLOCK = 1 << 18
_NOTIFY_EVERY_S = 2.0


class _Failed(Exception):
    """A mirror did not deliver, and asking it again is no use; its text says why."""


class _Cut(Exception):
    """The connection broke while reading; told apart from an OSError of the disk."""


def fetch(
    target: Path,
    urls: Sequence[str],
    *,
    size: int,
    md5: str,
    mend: str,
    notify: Notify = silent,
    timeout_s: float = 20.0,
    attempts: int = 5,
    pause_s: float = 1.0,
) -> Path:
    """Download to `target`, unless it is there by the time the lock is held; returns `target`.

    What has arrived is kept in `<target>.part`, and a later call asks for the rest only. A mirror
    is tried again as long as it delivers something; otherwise the next one goes on from there.

    Args:
        urls: addresses of the same file, tried in order.
        size: its length in bytes.
        md5: its checksum, in hex.
        mend: what the user can do when all fails, put at the end of the error.
        notify: told what happens, and the speed and the time left every two seconds.
        timeout_s: seconds without a byte after which a mirror counts as dead.
        attempts: most tries for one mirror.
        pause_s: seconds between two tries.

    Raises:
        UserError: no mirror delivered, or the disk is full. A file with a wrong checksum is
            removed, and so is what has arrived when the disk is full.
    """
    with locked(target, notify):
        if target.is_file():
            return target
        part = target.with_name(target.name + ".part")
        failures = []
        for url in urls:
            host = urllib.parse.urlsplit(url).netloc
            try:
                resumed = _size(part) > 0
                _from_mirror(url, part, size, notify, timeout_s, attempts, pause_s)
                if (wrong := _wrong_md5(part, md5)) and resumed:
                    # The half that was there before may be the bad one: this mirror gets a clean start.
                    _from_mirror(url, part, size, notify, timeout_s, attempts, pause_s)
                    wrong = _wrong_md5(part, md5)
                if wrong:
                    raise _Failed(f"wrong checksum (md5 {wrong}, expected {md5}), what it sent was removed")
            except _Failed as err:
                failures.append(f"{host}: {err}")
                notify(f"{host}: {err}")
                continue
            try:
                part.replace(target)
            except OSError as err:
                raise write_error(err, target) from err
            notify(f"downloaded and verified {target}")
            return target
        kept = _size(part)
        resume = f" ({kept:,} of {size:,} bytes are kept, a later run goes on from there)" if kept else ""
        if not kept:
            _remove(part)
        raise UserError(f"cannot download {target.name}: {'; '.join(failures)}{resume}; {mend}")


def _from_mirror(
    url: str, part: Path, size: int, notify: Notify, timeout_s: float, attempts: int, pause_s: float
) -> None:
    reason = ""
    for attempt in range(attempts):
        before = _size(part)
        if before == size:
            return
        if before > size:
            _remove(part)
            before = 0
        if attempt:
            time.sleep(pause_s)
        try:
            _append(url, part, size, notify, timeout_s)
            reason = "the connection was cut"
        except (OSError, http.client.HTTPException, _Cut) as err:
            reason = why(err)
        if _size(part) <= before:
            raise _Failed(reason)
    if _size(part) != size:
        raise _Failed(f"{reason}, {attempts} times")


def _append(url: str, part: Path, size: int, notify: Notify, timeout_s: float) -> None:
    """One request for what is missing; leaves in `part` whatever arrives."""
    have = _size(part)
    headers = {"User-Agent": "hotlap", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=timeout_s) as response:
        if response.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != have or match[2] not in ("*", str(size)):
                raise _Failed("it answers a resumed request with another range or file")
        else:
            have = 0  # it does not know ranges and sends all of it again
            length = response.headers.get("Content-Length")
            if length is not None and length != str(size):
                raise _Failed(f"it offers {length} bytes, not {size}")
        notify(f"{'going on with' if have else 'downloading'} {part.stem} from {request.host}")
        _save(response, part, have, size, notify)


def _save(response: http.client.HTTPResponse, part: Path, have: int, size: int, notify: Notify) -> None:
    began = told = time.monotonic()
    arrived = 0
    try:
        file = part.open("r+b" if have else "wb")
    except OSError as err:
        raise write_error(err, part) from err
    try:
        with file:
            file.seek(have)
            while block := _read(response):
                arrived += len(block)
                if have + arrived > size:
                    raise _Failed(f"it sends more than {size} bytes")
                file.write(block)
                now = time.monotonic()
                if now - told >= _NOTIFY_EVERY_S:
                    told = now
                    notify(_progress(part.stem, have + arrived, size, arrived / (now - began)))
            file.flush()
            os.fsync(file.fileno())
    except _Failed:
        _remove(part)
        raise
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            _remove(part)
        raise write_error(err, part) from err


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as err:
        raise _Cut(why(err)) from err


def _progress(name: str, have: int, size: int, speed: float) -> str:
    left_s = (size - have) / max(speed, 1.0)
    left = f"{left_s:.0f} s" if left_s < 120 else f"{left_s / 60:.0f} min"
    return f"{name}: {have / 1e6:.1f} of {size / 1e6:.1f} MB, {speed / 1e6:.2f} MB/s, {left} left"


def _wrong_md5(part: Path, md5: str) -> str:
    """The checksum of `part` if it is not `md5`, and then the file is removed; else nothing."""
    try:
        with part.open("rb") as file:
            # Not for security: md5 is what is published for these files.
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as err:
        raise read_error(err, part) from err
    if found == md5:
        return ""
    _remove(part)
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
