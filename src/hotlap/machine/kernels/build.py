"""Builds and loads the C++ beside it, once a machine, if there is a compiler; without one nothing is lost.

The library is kept in the user's cache under a name made of its source, the compiler and the processor.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

from hotlap.files import user_cache
from hotlap.machine.isa import level
from hotlap.machine.processor import cpu_features, cpu_name, processors
from hotlap.machine.telling import BUILDING, say

SOURCES = tuple(Path(__file__).with_name(name) for name in ("cpu.cpp", "winograd.cpp", "amx.cpp"))
FP32 = tuple(Path(__file__).with_name(name) for name in ("winograd_fp32.cpp", "norm_fp32.cpp"))
ANYWHERE = (Path(__file__).with_name("depthwise.cpp"),)
HEADERS = tuple(
    Path(__file__).with_name(name) for name in ("lanes.h", "vectors.h", "winograd.h", "norm.h", "kept.h")
)
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-w")
NEEDED = "avx512_bf16"
NO_SUCH_PROCESSOR = f"this processor has no {NEEDED}"
COMPILERS = ("g++", "c++")
WAIT_S = 120.0


@functools.cache
def library() -> ctypes.CDLL | str:
    """The kernels for training in bfloat16, or in words why there are none."""
    if NEEDED not in cpu_features():
        return NO_SUCH_PROCESSOR
    return loaded("cpu", SOURCES, lambda lib: declared(lib, tiles=True))


@functools.cache
def library_fp32() -> ctypes.CDLL | str:
    """The kernels for training in float32, which every processor has, or in words why there are none."""
    return loaded("fp32", FP32, declared)


@functools.cache
def anywhere() -> ctypes.CDLL | str:
    """The kernels for nets that no longer learn, or in words why there are none."""
    return loaded("any", ANYWHERE, lambda lib: lib)


def loaded(
    name: str, sources: tuple[Path, ...], declare: Callable[[ctypes.CDLL], ctypes.CDLL]
) -> ctypes.CDLL | str:
    """The library of that name, built if it is not there, or in words why there is none."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return "no C++ compiler; one called c++ or g++ builds them"
    path = user_cache(None) / "kernels" / f"{name}-{key_of(compiler, *flags(), sources=sources)}.so"
    try:
        if not path.exists():
            say(BUILDING)
            build(compiler, sources, path)
        return declare(ctypes.CDLL(str(path)))
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or "").strip().splitlines() or ["no message"]
        return f"{compiler} failed: {lines[0]}"
    except (OSError, AttributeError, subprocess.TimeoutExpired) as error:
        return f"cannot be built: {error}"


def key_of(*more: object, sources: tuple[Path, ...] = SOURCES) -> str:
    """A short key that changes when what was built or measured of the sources no longer holds."""
    facts = [
        *(p.read_text() for p in (*sources, *HEADERS)),
        cpu_name(),
        *cpu_features(),
        torch.__version__,
        *more,
    ]
    return hashlib.sha256("\0".join(map(str, facts)).encode()).hexdigest()[:16]


def build(compiler: str, sources: tuple[Path, ...], path: Path) -> None:
    """Compile the sources, side by side, in a folder beside `path`, and move the library there when it is
    whole: no other process sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        objects = [str(Path(folder, source.stem + ".o")) for source in sources]
        words = [
            [compiler, *flags(), "-c", str(source), "-o", made]
            for source, made in zip(sources, objects, strict=True)
        ]
        run = partial(subprocess.run, check=True, capture_output=True, text=True, timeout=WAIT_S)
        with ThreadPoolExecutor(processors()) as pool:
            list(pool.map(run, words))
        library = str(Path(folder, "library.so"))
        run([compiler, *flags(), "-shared", *objects, *openmp(), "-o", library])
        os.replace(library, path)


def flags() -> tuple[str, ...]:
    """The compiler's, for this processor or the one that is imitated."""
    if sys.platform == "darwin":  # Apple's compiler has OpenMP only where it is told so twice
        native = "-mcpu=native" if platform.machine() == "arm64" else f"-march={level().march}"
        return (*FLAGS, native, *(("-Xclang", "-fopenmp") if openmp() else ()))
    return (*FLAGS, f"-march={level().march}", "-fopenmp")


def openmp() -> list[str]:
    """PyTorch's own OpenMP library, where its wheel brings one: two would fight for the cores."""
    name, before = ("libomp.dylib", []) if sys.platform == "darwin" else ("libgomp*.so*", ["-Wl,--as-needed"])
    found = sorted((Path(torch.__file__).parent / "lib").glob(name))
    return [*before, str(found[0])] if found else []


def declared(lib: ctypes.CDLL, tiles: bool = False) -> ctypes.CDLL:
    """The library, its functions told what they take.

    Args:
        tiles: whether it has a tile unit's convolutions, and weight gradients of other filters than 3x3.
    """
    pointer, whole, real = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
    takes = {
        "winograd_convolution": [pointer] * 5 + [whole] * 6,
        "winograd_weight_gradient": [pointer] * 4 + [whole] * 5,
        "pool_norm_act": [pointer, whole, real, *[pointer] * 3, real, whole, *[pointer] * 6],
        "pool_norm_act_backward": [pointer, whole, real, *[pointer] * 11],
    }
    if tiles:
        takes["amx_convolution"] = takes["winograd_convolution"]
        takes["amx_weight_gradient"] = takes["winograd_weight_gradient"]
        takes["weight_gradient"] = takes["amx_any_weight_gradient"] = [pointer] * 3 + [whole] * 7
    for name, argtypes in takes.items():
        function = getattr(lib, name)
        function.argtypes, function.restype = argtypes, None
    return lib
