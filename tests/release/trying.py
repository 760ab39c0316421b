"""Installs what `make dist` made into fresh environments, by pip alone, and does there what a new user does.

    python3.12 tests/release/trying.py dist

Environments are made by the interpreter that runs this, in a temporary folder ($TMPDIR says where), with an
empty cache, and out of sight of the checkout. torch is the one that constraints.txt pins, everything else the
newest that fits. No extra is installed, and what needs one must say so in one line. Seconds are of processes.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
TORCH = re.search(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(), re.M)[0]
PICTURE = "from PIL import Image; Image.linear_gradient('L').convert('RGB').save('picture.png')"
REFUSED = (  # what needs an extra, and which
    ("onnx", ("export", "run", "--format", "onnx")),
    ("onnx", ("export", "run", "--format", "int8")),
    ("serve", ("serve", "run", "--port", "0")),
    ("plots", ("explain", "momentum", "--quick", "--data", "patterns")),
    ("parquet", ("train", "--data", "pictures.parquet")),
    ("ray", ("bench", "demo", "--data", "patterns", "--engine", "ray")),
)


class Tried:
    """One distribution, installed in an environment of its own, and how much went wrong with it."""

    def __init__(self, folder: Path):
        self.folder, self.bin, self.wrong = folder, folder / "env" / "bin", 0
        self.cwd, self.third = folder / "elsewhere", folder / "third"
        self.cwd.mkdir()
        self.third.mkdir()
        others = ("PYTHON", "HOTLAP", "VIRTUAL_ENV")  # what would bring in the checkout or what a user has
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(others)}
        self.env["HOTLAP_CACHE"] = str(folder / "cache")

    def run(self, name: str, *words: str | Path, said: str = "", status: int = 0, cwd: Path | None = None):
        """A command of the environment: it must end with `status`, and `said` be in what it writes."""
        start = time.monotonic()
        command = [self.bin / name, *words]
        done = subprocess.run(command, env=self.env, cwd=cwd or self.cwd, capture_output=True, text=True)
        took, told = time.monotonic() - start, done.stdout + done.stderr
        one_line = status != 2 or (done.stdout, done.stderr.count("\n")) == ("", 1)
        good = done.returncode == status and re.search(said, told, re.M) and one_line
        shown = " ".join(str(w).replace(f"{self.folder}/", "") for w in (name, *words))
        print(f"{took:7.1f} s  {shown}", flush=True)
        for line in told.splitlines():
            if not good or status == 2 or re.match(r"(demo on .*%|seconds:|curve:)", line):
                print(f"           {line}")
        if not good:
            self.wrong += 1
            print(
                f"WRONG: status {done.returncode}, wanted {status}, in one line where it is 2, and {said!r}"
            )

    def install(self, distribution: Path) -> None:
        start = time.monotonic()
        subprocess.run([sys.executable, "-m", "venv", self.bin.parent], env=self.env, check=True)
        self.run("pip", "install", "--quiet", TORCH, distribution)
        took = time.monotonic() - start
        held = (p for p in self.bin.parent.rglob("*") if p.is_file() and not p.is_symlink())
        print(f"{took:7.1f} s  for an environment of {sum(p.stat().st_size for p in held) / 1e6:,.0f} MB")

    def use(self, version: str) -> None:
        """As a new user does."""
        self.run("hotlap", "--version", said=rf"^hotlap {re.escape(version)}$")
        self.run("python", "-c", "import hotlap; print(hotlap.__file__)", said=f"^{self.bin.parent}/lib/")
        words = ("demo", "--data", "patterns", "--target", "94", "--out", "run")
        self.run("hotlap", "train", *words, said=r"^curve: not drawn, .* pip install 'hotlap\[plots\]'$")
        self.run("hotlap", "doctor", said="^will be used$")
        self.run("python", "-c", PICTURE)
        picture = self.cwd / "picture.png"
        self.run("hotlap", "predict", self.cwd / "run", picture, said=r"picture\.png .*%", cwd=self.third)
        (self.cwd / "pictures.parquet").write_bytes(b"PAR1" * 4)
        for extra, words in REFUSED:
            self.run("hotlap", *words, said=rf"pip install 'hotlap\[{extra}\]'", status=2)


def main(folder: Path) -> int:
    wrong = 0
    for path in sorted(folder.resolve().glob("hotlap-*")):
        version = re.match(r"hotlap-(\d+(?:\.\d+)*)", path.name)[1]
        print(f"{path.name}, Python {platform.python_version()}, {TORCH}", flush=True)
        with tempfile.TemporaryDirectory(prefix="hotlap-try-") as place:
            tried = Tried(Path(place).resolve())
            tried.install(path)
            if not tried.wrong:
                tried.use(version)
        wrong += tried.wrong
    print(f"{wrong} went wrong" if wrong else "everything went as it should")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
