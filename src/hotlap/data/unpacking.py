"""Archives of a user's images unpacked into a folder of ours, whole, and never outside it."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from hotlap.data.listing import shown
from hotlap.errors import UserError
from hotlap.files import Notify, read_error, why, write_error

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_BLOCK = 1 << 20
_MOST_FILES = 5_000_000
_MOST_HEADER = 1 << 20  # bytes of a name; a tar may claim any number, and they are read at once
_AGAIN = "delete it and get it again from a source you trust"


def limit_of(size: int) -> int:
    """The most bytes that a file of `size` bytes may unpack to: images hardly shrink, zeros do a
    thousandfold."""
    return (1 << 30) + 200 * size


def is_archive(path: Path) -> bool:
    """Whether a file is an archive of files, by its name."""
    return path.name.lower().endswith(SUFFIXES)


def stem_of(name: str) -> str:
    """An archive's name without its suffix."""
    suffix = max((s for s in SUFFIXES if name.lower().endswith(s)), key=len)
    return name[: -len(suffix)]


@contextmanager
def unpacking(archives: Sequence[Path], folder: Path, notify: Notify) -> Iterator[Unpacking]:
    """What unpacks these archives, and those in them, below `folder`, which is removed at the end. What lies
    there is taken for leftovers.

    Raises:
        UserError: an archive cannot be looked at, or nothing can be written.
    """
    try:
        limit = limit_of(sum(path.stat().st_size for path in archives))
    except OSError as err:
        raise read_error(err, archives[0]) from err
    try:
        remove(folder)
        folder.mkdir(parents=True)
    except OSError as err:
        raise write_error(err, folder) from err
    try:
        yield Unpacking(folder, limit, notify)
    finally:
        with suppress(OSError):
            remove(folder)


def remove(folder: Path) -> None:
    """Remove what `unpacking` of a killed process left."""
    if folder.exists():
        shutil.rmtree(folder)


class Unpacking:
    """Archives on their way into one folder, with one limit for what they come to.

    Args:
        folder: what everything is unpacked below.
        limit: the most bytes that are written.
        notify: told of each archive.
    """

    def __init__(self, folder: Path, limit: int, notify: Notify) -> None:
        self.folder, self.limit, self.notify = folder, limit, notify
        self.written = self.count = 0

    def take(self, path: Path, into: str, called: Path) -> None:
        """Unpack one archive.

        Args:
            path: where it lies.
            into: the folder below `folder` that its files go to; "" for that itself.
            called: what the user knows it as.

        Raises:
            UserError: the archive is damaged, encrypted or too large unpacked; a member is a link or a
                device, lies outside the archive or comes twice; or the disk is full.
        """
        self.notify(f"unpacking {called} into the cache")
        self.path, self.called, self.target = path, called, self.folder / into
        try:
            self.target.mkdir(parents=True, exist_ok=True)
            if zipfile.is_zipfile(path):
                self._zip()
            else:
                self._tar()
        except UserError:
            raise
        except (EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile) as err:
            self._damaged(err)
        except OSError as err:
            if err.errno is None or isinstance(err, gzip.BadGzipFile) or err.filename is None:
                self._damaged(err)
            raise write_error(err, self.folder) from err
        except Exception as err:  # zipfile and tarfile raise nearly anything on damaged heads
            self._damaged(err)

    def _damaged(self, err: Exception) -> NoReturn:
        raise UserError(f"{self.called} is truncated or damaged ({shown(why(err))}); get it again") from err

    def _zip(self) -> None:
        with zipfile.ZipFile(self.path) as archive:
            for member in archive.infolist():
                mode = member.external_attr >> 16
                kind = stat.S_IFMT(mode)
                if member.flag_bits & 1:
                    raise UserError(f"{self.called} is encrypted; unpack it and give the folder")
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    self._refuse(member.filename, "is a link or a device")
                target = self._target(member.filename)
                if member.is_dir():
                    self._folder(target)
                    continue
                with archive.open(member) as stream:
                    self._file(member.filename, target, stream)

    def _tar(self) -> None:
        # tarfile's own "r|gz" does not check gzip's checksum; gzip.open does.
        with self._opened() as stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as tar:
            for member in tar:
                target = self._target(member.name)
                if member.isdir():
                    self._folder(target)
                    continue
                if not member.isfile() or member.issparse():
                    self._refuse(member.name, "is a link or a device")
                file = tar.extractfile(member)
                assert file is not None
                self._file(member.name, target, file, member.mtime)
            left = self.limit
            while left > 0 and (block := stream.read(_BLOCK)):
                left -= len(block)

    def _opened(self) -> Any:
        with self.path.open("rb") as file:
            head = file.read(6)
        if head.startswith(b"\x1f\x8b"):
            return gzip.open(self.path)
        if head.startswith(b"BZh"):
            return bz2.open(self.path)
        if head.startswith(b"\xfd7zXZ"):
            return lzma.open(self.path)
        return self.path.open("rb")

    def _target(self, name: str) -> Path:
        text = name.replace("\\", "/") if "/" not in name else name  # some programs of Windows write it so
        parts = PurePosixPath(text).parts
        outside = not parts or text.startswith("/") or ".." in parts or "\0" in text or ":" in parts[0][1:2]
        if outside and parts != ():
            self._refuse(name, "points outside its folder")
        self.count += 1
        if self.count > _MOST_FILES:
            raise UserError(
                f"{self.called} holds more than {_MOST_FILES:,} files; unpack it and give the folder"
            )
        return self.target.joinpath(*parts)

    def _refuse(self, name: str, what: str) -> NoReturn:
        raise UserError(f"{self.called} has a member {shown(name)!r} that {what}; nothing was kept: {_AGAIN}")

    def _folder(self, target: Path) -> None:
        try:
            target.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as err:
            raise UserError(
                f"{self.called} has {shown(target.name)!r} both as a file and a folder; {_AGAIN}"
            ) from err

    def _file(self, name: str, target: Path, stream: IO[bytes], time_s: float | None = None) -> None:
        self._folder(target.parent)
        try:
            file = target.open("xb")
        except FileExistsError:
            self._refuse(name, "comes twice")
        with file:
            while block := stream.read(_BLOCK):
                self.written += len(block)
                if self.written > self.limit:
                    raise UserError(
                        f"{self.called} unpacks to over {self.limit:,} bytes, more than images do; {_AGAIN}"
                    )
                file.write(block)
        # A time that is the same at each unpacking: what is in the cache already is then known again.
        with suppress(OSError, OverflowError, ValueError):
            os.utime(target, (time_s or 0, time_s or 0))


class _Member(tarfile.TarInfo):
    """A member whose name cannot fill the memory."""

    def _proc_member(self, tar: Any) -> Any:
        long = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
        if self.type in (*long, tarfile.SOLARIS_XHDTYPE) and self.size > _MOST_HEADER:
            raise tarfile.ReadError("a name too long")
        return super()._proc_member(tar)  # type: ignore[misc]
