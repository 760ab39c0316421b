"""What the verbs' command lines share: the parser, and options that several verbs have."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from hotlap.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse that takes whole options only and answers a mistake with one line."""

    def __init__(self, **settings: Any):
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}; see `{self.prog} --help`")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help 100 columns wide; descriptions and examples stand as they are written."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=32, width=100)


def examples(parser: argparse.ArgumentParser, rows: tuple[tuple[str, str], ...]) -> None:
    """Put command lines, each with what it does, below the verb's help."""
    width = max(len(line) for line, _ in rows)
    parser.epilog = "examples:\n" + "\n".join(f"  {line:{width}}   {what}" for line, what in rows)


def common(parser: argparse.ArgumentParser) -> None:
    """The options every verb has."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object on stdout, the rest on stderr"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def settings_of(words: list[str]) -> dict[str, Any]:
    """`k=v` words as a dict, values read as TOML, or as a string where they are not TOML.

    Raises:
        UserError: for a word without `=`.
    """
    import tomllib

    out: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UserError(f"{word!r}: give it as key=value")
        try:
            out[key.strip()] = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            out[key.strip()] = text
    return out
