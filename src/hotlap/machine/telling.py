"""Where to say what happens once on a machine, deep inside of what a run asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from hotlap.files import Notify, silent

MEASURING = "measuring this machine (once)"
BUILDING = "building kernels (once)"
_to: ContextVar[Notify] = ContextVar("told", default=silent)


@contextmanager
def told(notify: Notify) -> Iterator[None]:
    """What is measured and built inside is said to `notify`, each line once; nowhere else."""
    said: set[str] = set()

    def tell(text: str) -> None:
        if text not in said:
            said.add(text)
            notify(text)

    token = _to.set(tell)
    try:
        yield
    finally:
        _to.reset(token)


def say(text: str) -> None:
    """Tell whoever is `told`."""
    _to.get()(text)
