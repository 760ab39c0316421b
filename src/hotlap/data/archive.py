"""Read the expected files out of a .tar.gz, in memory, in one pass; nothing is ever extracted."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from hotlap.errors import UserError
from hotlap.files import why

_BLOCK = 1 << 20


def read_members(
    path: Path, folder: str, names: Collection[str], *, limit_bytes: int
) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of each file `folder/<name>` in the archive, in the archive's order.

    The whole stream is read, so that gzip's own checksum is checked too.

    Args:
        path: a gzip-compressed tar.
        names: names to yield, relative to `folder`; other files are skipped.
        limit_bytes: the most that the archive may hold when unpacked.

    Raises:
        UserError: the archive is truncated, damaged, or too large unpacked, or a member is a link
            or a device, lies outside the archive's folder, or comes twice.
    """
    again = "delete it and get it again from a source you trust"
    seen: set[str] = set()
    total = 0
    try:
        # tarfile's own "r|gz" does not check gzip's checksum; gzip.open does.
        with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                _refuse_unsafe(member, path)
                total += member.size
                if total > limit_bytes:
                    raise UserError(f"{path} unpacks to over {limit_bytes:,} bytes; {again}")
                parts = PurePosixPath(member.name).parts
                if not member.isfile() or len(parts) != 2 or parts[0] != folder or parts[1] not in names:
                    continue
                if parts[1] in seen:
                    raise UserError(f"{path} holds {member.name!r} twice; {again}")
                seen.add(parts[1])
                file = tar.extractfile(member)
                assert file is not None
                yield parts[1], file.read()
            left = limit_bytes
            while left > 0 and (block := stream.read(_BLOCK)):
                left -= len(block)
    except (EOFError, zlib.error, tarfile.TarError, OSError) as err:
        raise UserError(f"{path} is truncated or damaged ({why(err)}); get it again") from err


def _refuse_unsafe(member: tarfile.TarInfo, path: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        what = "points outside its folder"
    elif not (member.isfile() or member.isdir()):
        what = "is a link or a device"
    else:
        return
    raise UserError(
        f"{path} has a member {member.name!r} that {what}; nothing was unpacked: "
        "delete it and get it again from a source you trust"
    )
