"""What a wheel and a source distribution must hold, and what is wrong with one.

    python tests/release/contents.py dist

The wheel holds the package as git has it, and its metadata. The source distribution holds the repository as
git has it, without what neither builds hotlap nor tests it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = ("docs/", "records/", "tests/docs/", "tests/records/", "tests/release/", ".ci/")
INFO = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
WITHIN = re.compile(r"\]\((?!https?:)|src=\"(?!https?:)")  # a link that leads nowhere outside the repository


def kept(folder: str = "") -> dict[str, bytes]:
    """Files that git has, or would have with the next `git add`, by their names below `folder`."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(words, cwd=ROOT / folder, check=True, capture_output=True, text=True).stdout
    places = {name: ROOT / folder / name for name in names.split("\0") if name}
    return {name: place.read_bytes() for name, place in places.items() if place.is_file()}


def version() -> str:
    """The one that the package says."""
    found: dict[str, str] = {}
    exec((ROOT / "src/hotlap/_version.py").read_text(), found)
    return found["__version__"]


def read(path: Path) -> dict[str, bytes]:
    """The files of a wheel (.whl) or a source distribution (.tar.gz), by name."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        members = [m for m in archive.getmembers() if m.isfile()]
        return {m.name: archive.extractfile(m).read() for m in members}


def faults(path: Path) -> list[str]:
    """What is wrong with a wheel or a source distribution, a line each."""
    held = read(path)
    if path.suffix == ".whl":
        info = f"hotlap-{version()}.dist-info/"
        wanted = {f"hotlap/{name}": content for name, content in kept("src/hotlap").items()}
        made, metadata = {info + name for name in INFO}, info + "METADATA"
    else:
        top = f"hotlap-{version()}/"
        wanted = {top + name: data for name, data in kept().items() if not name.startswith(LEFT_OUT)}
        made, metadata = {top + "PKG-INFO"}, top + "PKG-INFO"
    return [
        *(f"{path.name}: lacks {name}" for name in sorted((wanted.keys() | made) - held.keys())),
        *(f"{path.name}: holds {name}" for name in sorted(held.keys() - wanted.keys() - made)),
        *(
            f"{path.name}: {x} is not as git has it"
            for x in sorted(wanted)
            if held.get(x, wanted[x]) != wanted[x]
        ),
        *(f"{path.name}: {line}" for line in told_wrong(held.get(metadata, b""))),
    ]


def told_wrong(metadata: bytes) -> list[str]:
    """What a package index would show wrong of hotlap."""
    told = message_from_bytes(metadata)
    found = [f"its version is {told['Version']}"] if told["Version"] != version() else []
    text = told.get_payload()
    lines = text.splitlines() if isinstance(text, str) else []
    return [*found, *(f"leads nowhere on a package index: {x}" for x in lines if WITHIN.search(x))]


def main(folder: Path) -> int:
    paths = sorted(folder.glob("*.whl")) + sorted(folder.glob("*.tar.gz"))
    if len(paths) != 2:
        print(f"{folder}: holds {len(paths)} distributions, not a wheel and a source; run `make dist`")
        return 1
    wrong = [line for path in paths for line in faults(path)]
    for path in paths:
        held = read(path)
        kinds = Counter(Path(name).suffix or "others" for name in held).most_common()
        unpacked, packed = sum(map(len, held.values())), path.stat().st_size
        print(f"{path}: {packed / 1e3:.0f} kB, unpacked {unpacked / 1e6:.1f} MB, {len(held)} files")
        print("  " + ", ".join(f"{n} {kind}" for kind, n in kinds))
    print("\n".join(wrong) or "they hold what git has")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
