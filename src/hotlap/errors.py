"""What is said in one line: what a user can mend, and a process that is gone."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. Its text is one line: what is wrong, where, and the mend.

    The command line prints that line and exits with status 2, without a traceback;
    the Python API raises it as it is.
    """


class RankLost(Exception):
    """Another process of a run is gone, or has not answered for a minute."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest of `choices`, or `""` if none is near."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
