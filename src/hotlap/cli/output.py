"""What verbs leave: text for people on stdout, or one JSON object there and the text on stderr; a status."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


DONE, INTERNAL, BAD_INPUT, MISSED, INTERRUPTED = 0, 1, 2, 3, 130  # exit statuses
LAUNCHED = "HOTLAP_LAUNCHED"  # in the environment of processes that `hotlap train --devices` has started


class Output:
    """Where a verb's words go.

    Args:
        as_json: whether stdout is kept for the one JSON object.
    """

    def __init__(self, as_json: bool):
        self.as_json = as_json
        self.stream = sys.stderr if as_json else sys.stdout
        self.noted: set[str] = set()

    def say(self, text: str = "") -> None:
        print(text, file=self.stream, flush=True)

    def note(self, text: str) -> None:
        """A remark beside the result: always on stderr, and once, however often the data is looked at."""
        if text not in self.noted:
            self.noted.add(text)
            print(text, file=sys.stderr, flush=True)

    def result(self, value: dict[str, Any]) -> None:
        """The JSON object, if it was asked for."""
        if self.as_json:
            print(json.dumps(value), flush=True)

    def columns(self, rows: Iterable[Sequence[str]], indent: str = "") -> None:
        """Rows in aligned columns, the last one wrapped to the terminal."""
        table = [tuple(map(str, row)) for row in rows]
        if not table:
            return
        import shutil
        import textwrap

        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]) - 1)]
        room = shutil.get_terminal_size((100, 24)).columns - sum(widths) - 2 * len(widths) - len(indent)
        for row in table:
            head = "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=False))
            lines = textwrap.wrap(row[-1], max(room, 30), break_on_hyphens=False) or [""]
            self.say(f"{indent}{head}{lines[0]}".rstrip())
            for line in lines[1:]:
                self.say(" " * (len(indent) + len(head)) + line)

    def aligned(self, rows: Sequence[Sequence[str]], words: tuple[int, ...] = (0,)) -> None:
        """Rows of as many cells each, the columns numbered in `words` aligned left and the others right."""
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            cells = (
                c.ljust(w) if i in words else c.rjust(w)
                for i, (c, w) in enumerate(zip(row, widths, strict=True))
            )
            self.say("  ".join(cells).rstrip())

    def files(self, paths: Mapping[str, Path]) -> None:
        """Where files lie, by what they are; the pictures that would be among them need matplotlib."""
        from hotlap.report.plots import NOT_DRAWN, has_plots

        rows = [(name, str(path)) for name, path in paths.items()]
        if not has_plots():
            rows.append(("pictures", NOT_DRAWN))
        width = max(len(name) for name, _ in rows) + 2
        for name, what in rows:
            self.say(f"{name + ':':<{width}}{what}")

    def console(self) -> Console:
        from rich.console import Console

        return Console(file=self.stream, highlight=False)
