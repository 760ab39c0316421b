"""Installs what `make dist` made into fresh environments, by pip alone, and does there what a new user does.

    python3.12 tests/release/trying.py dist

Environments are made by the interpreter that runs this, in a temporary folder ($TMPDIR says where), with an empty
cache, and out of sight of the checkout. torch is the one that constraints.txt pins; everything else is the newest
that fits. What needs an extra must say so in one line, as none is installed. The seconds are of whole processes.
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
    """One distribution, installed in an environment of its own."""

    def __init__(self, folder: Path):
        self.bin, self.cwd, self.wrong = folder / "env" / "bin", folder / "elsewhere", 0
        self.cwd.mkdir()
        mine = ("PYTHON", "HOTLAP", "VIRTUAL_ENV")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(mine)}
        self.env["HOTLAP_CACHE"] = str(folder / "cache")
        self.env["PATH"] = f"{self.bin}:{os.environ['PATH']}"

    def run(self, *words: str | Path, said: str = "", status: int = 0, cwd: Path | None = None) -> str:
        """What a command writes; it must end with `status`, and what it writes match `said`."""
        start = time.monotonic()
        done = subprocess.run(words, env=self.env, cwd=cwd or self.cwd, capture_output=True, text=True)
        took, told = time.monotonic() - start, done.stdout + done.stderr
        lines = done.stderr.count("\n")
        good = done.returncode == status and re.search(said, told) and (status != 2 or lines == 1)
        print(f"  {took:6.1f} s  {'' if good else 'WRONG: '}{' '.join(map(str, words))[:100]}", flush=True)
        if status == 2 and good:
            print(f"            {done.stderr.strip()}")
        if not good:
            self.wrong += 1
            print(f"status {done.returncode}, wanted {status} and {said!r}\n{told}")
        return told

    def hotlap(self, *words: str | Path, **expected: object) -> str:
        return self.run("hotlap", *words, **expected)

    def install(self, distribution: Path) -> None:
        self.run(sys.executable, "-m", "venv", self.bin.parent)
        self.run(self.bin / "pip", "install", "--quiet", TORCH, distribution)
        size = sum(p.stat().st_size for p in self.bin.parent.rglob("*") if p.is_file() and not p.is_symlink())
        print(f"            {size / 1e6:,.0f} MB in the environment")

    def as_a_new_user(self, version: str) -> None:
        self.hotlap("--version", said=rf"^hotlap {re.escape(version)}\n")
        self.run("python", "-c", "import hotlap; print(hotlap.__file__)", said=f"^{self.bin.parent}/lib")
        told = self.hotlap(
            *("train", "demo", "--data", "patterns", "--target", "94", "--out", "run"),
            said=r"curve: not drawn, .* pip install 'hotlap\[plots\]'\n",
        )
        print("".join(f"            {line}\n" for line in told.splitlines() if re.match(r"demo on .*%|sec", line)), end="")
        self.hotlap("doctor", said="arithmetic|fastest")
        self.run("python", "-c", PICTURE)
        other = self.cwd.parent / "third"
        other.mkdir()
        self.hotlap("predict", self.cwd / "run", self.cwd / "picture.png", said=r"picture\.png .*%", cwd=other)
        (self.cwd / "pictures.parquet").write_bytes(b"PAR1" * 4)
        for extra, words in REFUSED:
            self.hotlap(*words, said=rf"pip install 'hotlap\[{extra}\]'", status=2)


def main(folder: Path) -> int:
    wrong = 0
    for path in sorted(folder.resolve().glob("hotlap-*")):
        version = re.match(r"hotlap-(\d+(?:\.\d+)*)", path.name)[1]
        print(f"{path.name}, Python {platform.python_version()}, {TORCH}", flush=True)
        with tempfile.TemporaryDirectory(prefix="hotlap-try-") as place:
            tried = Tried(Path(place).resolve())
            tried.install(path)
            if not tried.wrong:
                tried.as_a_new_user(version)
        wrong += tried.wrong
    print(f"{wrong} went wrong" if wrong else "everything went as it should")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
