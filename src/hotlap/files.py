"""Files the library keeps for the user: where the cache is, locks, and writes that cannot be half done."""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hotlap.errors import UserError

try:
    import fcntl

    LOCKS = True
except ImportError:  # on Windows nobody waits for anybody
    LOCKS = False

Notify = Callable[[str], None]


def silent(_: str) -> None:
    """The `notify` that says nothing."""


def env_path(name: str) -> Path | None:
    """The folder an environment variable names, `~` expanded; None if it is unset or empty."""
    text = os.environ.get(name, "")
    return Path(text).expanduser() if text else None


def user_cache(cache_dir: Path | None = None) -> Path:
    """`cache_dir`, else $HOTLAP_CACHE, else $XDG_CACHE_HOME/hotlap, else ~/.cache/hotlap.

    The folder need not exist yet. Where the default one cannot be made or written, as in a container with a
    read-only home, it is a temporary folder, and a warning says so once.
    """
    if cache_dir is not None:
        return cache_dir.expanduser().absolute()
    if (own := env_path("HOTLAP_CACHE")) is not None:
        return own.absolute()
    xdg = env_path("XDG_CACHE_HOME")
    if xdg is not None and xdg.is_absolute():  # the XDG specification says to ignore a relative one
        return writable_or_temporary(xdg / "hotlap")
    try:
        return writable_or_temporary(Path.home() / ".cache" / "hotlap")
    except RuntimeError:
        return temporary_cache("there is no home folder")


@functools.cache
def writable_or_temporary(folder: Path) -> Path:
    """`folder`, made if need be, or a temporary one in its place if files cannot be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        return temporary_cache(f"{folder} cannot be made ({why(err)})")
    return folder if os.access(folder, os.W_OK | os.X_OK) else temporary_cache(f"{folder} cannot be written")


@functools.cache
def temporary_cache(reason: str) -> Path:
    """A cache for this process alone, gone when it ends; another user's cannot be put in its place."""
    made = tempfile.TemporaryDirectory(prefix="hotlap-", ignore_cleanup_errors=True)
    atexit.register(made.cleanup)
    warnings.warn(
        f"{reason}; the cache is a temporary folder, gone at the end: set HOTLAP_CACHE to one that stays",
        stacklevel=3,
    )
    return Path(made.name)


def slug(name: str) -> str:
    """The name as part of a file's: what is no letter, digit, `-`, `_` or `.` becomes a dash."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def why(err: BaseException) -> str:
    """An exception's reason as one line, without the path that `str(OSError)` repeats."""
    text = (err.strerror if isinstance(err, OSError) else None) or str(err) or type(err).__name__
    return " ".join(text.split())


def read_error(err: OSError, path: Path) -> UserError:
    """The UserError for a file that cannot be read."""
    return UserError(f"cannot read {path}: {why(err)}; check the file and its permissions")


RUN_MEND = "free space there, or choose another folder"
CACHE_MEND = "free space there, or set HOTLAP_CACHE to a folder that has it"


def write_error(err: OSError, path: Path, mend: str = CACHE_MEND) -> UserError:
    """The UserError for a file that cannot be written; `mend` is for want of space."""
    if isinstance(err, NotADirectoryError | FileExistsError | IsADirectoryError | PermissionError):
        change = "set HOTLAP_CACHE to" if mend == CACHE_MEND else "choose"
        mend = f"{change} a folder that can be written"
    return UserError(f"cannot write {path}: {why(err)}; {mend}")


@contextmanager
def locked(target: Path, notify: Notify = silent) -> Iterator[None]:
    """Hold the lock that guards `target` against other processes and threads; waits for it.

    The lock is `<target>.lock`, made with the folder if need be, and removed at the end.

    Raises:
        UserError: the folder or the lock cannot be made.
    """
    path = target.with_name(target.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = _acquire(path, target, notify)
    except OSError as err:
        raise write_error(err, path) from err
    try:
        yield
    finally:
        # Removed while held: whoever waits on this inode sees in `_acquire` that it is gone.
        with suppress(OSError):
            path.unlink()
        os.close(fd)


def _acquire(path: Path, target: Path, notify: Notify) -> int:
    said = False
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        if not LOCKS:
            return fd
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not said:
                    notify(f"waiting for another process that is writing {target}")
                    said = True
                fcntl.flock(fd, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), path.stat()):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the last holder removed this file: the lock is a newer one


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`, in a folder made if need be, so that it appears complete or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written; `path` is then as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise write_error(err, path, RUN_MEND) from err
    write_atomically(path, [data], RUN_MEND)


def write_atomically(path: Path, chunks: Iterable[bytes | memoryview], mend: str = CACHE_MEND) -> None:
    """Write `chunks` to `path` so that it appears complete or not at all. One writer at a time.

    The temporary name is fixed, so what a killed process left is overwritten, not added to.

    Raises:
        UserError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        try:
            with temporary.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as err:
        raise write_error(err, path, mend) from err
