"""Read CIFAR's Python batches, which are pickles, without letting a pickle do anything.

A pickle may name any function and have it called. Here the few names that a pickled uint8 array
needs stand for inert records of ours, never for numpy's own constructors (a forged dtype could make
those read raw memory as objects), and every other name is refused.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from hotlap.errors import UserError


def loads(raw: bytes, where: str) -> dict[str, Any]:
    """The dictionary in a pickled CIFAR batch: text keys; byte strings stay bytes; arrays are uint8.

    Args:
        raw: the pickle.
        where: the file it came from, for the error.

    Raises:
        UserError: it names something it has no business with, or is not such a pickle.
    """
    try:
        content = _Unpickler(raw, where).load()
    except UserError:
        raise
    except Exception as err:  # a damaged pickle may raise nearly anything
        raise UserError(
            f"{where} is not a readable CIFAR batch ({type(err).__name__}); get the file again"
        ) from err
    if not isinstance(content, dict):
        raise UserError(f"{where} holds a {type(content).__name__}, not a CIFAR batch; get the file again")
    return {
        text(key, where): value.numpy(where) if isinstance(value, _Array) else value
        for key, value in content.items()
    }


def text(value: object, where: str) -> str:
    """A string that Python 2 may have written as bytes.

    Raises:
        UserError: it is neither.
    """
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    raise UserError(f"{where} has a {type(value).__name__} where a name belongs; get the file again")


class _Dtype:
    """Stands for numpy.dtype: remembers its name."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        self.code = text(code, "a dtype").lstrip("|<>=")

    def __setstate__(self, _: object) -> None:
        """Byte order and flags: of no meaning to bytes."""


class _Array:
    """Stands for numpy.ndarray: remembers its state."""

    shape: tuple[int, ...]
    dtype: _Dtype
    fortran: bool
    data: bytes

    def __setstate__(self, state: tuple[Any, tuple[int, ...], _Dtype, bool, bytes]) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    def numpy(self, where: str) -> npt.NDArray[np.uint8]:
        dtype, data, shape = (getattr(self, name, None) for name in ("dtype", "data", "shape"))
        good = (
            isinstance(dtype, _Dtype)
            and dtype.code in ("u1", "uint8")
            and isinstance(data, bytes | bytearray)
            and isinstance(shape, tuple)
            and all(isinstance(n, int) and n >= 0 for n in shape)
            and math.prod(shape) == len(data)
        )
        if not good:
            raise UserError(f"{where} holds an array that is not whole uint8; get the file again")
        assert isinstance(data, bytes | bytearray)
        assert isinstance(shape, tuple)
        return np.frombuffer(data, np.uint8).reshape(shape, order="F" if self.fortran else "C")


class _Unpickler(pickle.Unpickler):
    def __init__(self, raw: bytes, where: str) -> None:
        super().__init__(io.BytesIO(raw), encoding="bytes")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        # Made anew for each name asked for: a pickle can set attributes on what it is handed.
        def reconstruct(*_: object) -> _Array:
            return _Array()

        def from_buffer(data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
            array = _Array()
            array.__setstate__((1, shape, dtype, text(order, self._where) == "F", data))
            return array

        def encode(value: str, _: str = "latin1") -> bytes:
            return value.encode("latin-1")

        # Old numpy says numpy.core, new numpy numpy._core; Python 3 writes bytes as _codecs.encode.
        known: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): type("ndarray", (), {}),
            ("numpy", "dtype"): type("dtype", (_Dtype,), {}),
            ("numpy.core.multiarray", "_reconstruct"): reconstruct,
            ("numpy.core.numeric", "_frombuffer"): from_buffer,
            ("_codecs", "encode"): encode,
        }
        found = known.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise UserError(
                f"{self._where} asks to run {f'{module}.{name}'!r}, which no CIFAR batch needs; "
                "nothing was run: delete the file and get it from a source you trust"
            )
        return found

    def persistent_load(self, _: object) -> Any:
        raise UserError(f"{self._where} refers to things outside itself; get the file again")
