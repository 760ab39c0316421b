"""JSON that people read: a row a line, no more digits than count, nothing wider than it has to be."""

from __future__ import annotations

import json
from typing import Any

WIDTH = 240  # characters up to which a row stays on its line
FILL = 200  # characters of a line of numbers
DIGITS = 8  # of a number: what is subtracted or divided from them is still good to five


def rounded(value: Any, digits: int = DIGITS) -> Any:
    """The value with all its floats to so many significant digits."""
    if isinstance(value, dict):
        return {k: rounded(v, digits) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v, digits) for v in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def document(value: Any, digits: int = DIGITS) -> str:
    """The value as a JSON file."""
    return laid_out(rounded(value, digits), "") + "\n"


def line(value: dict[str, Any], **exact: Any) -> str:
    """An object as one of a file of JSON lines; what is named `exact` keeps every digit."""
    return json.dumps({**rounded(value), **exact}, ensure_ascii=False) + "\n"


def laid_out(value: Any, indent: str, row: bool = False) -> str:
    """JSON that goes on at `indent`; a `row`, or what holds nothing but single values, may be wide."""
    flat = json.dumps(value, ensure_ascii=False)
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    single = not any(isinstance(v, dict | list) for v in parts)
    row = row or (isinstance(value, dict) and all(is_few(v) for v in parts))
    if len(indent) + len(flat) <= (WIDTH if row or single else FILL) or not parts:
        return flat
    inside = indent + " "
    if isinstance(value, dict):
        lines = [f"{inside}{json.dumps(k)}: {laid_out(v, inside)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if single:
        return f"[\n{filled([json.dumps(v, ensure_ascii=False) for v in value], inside)}\n{indent}]"
    return "[\n" + ",\n".join(inside + laid_out(v, inside, row=True) for v in value) + f"\n{indent}]"


def is_few(value: Any) -> bool:
    """Whether it is a single value or a short list of such, as a shape or an interval."""
    if isinstance(value, list):
        return len(value) <= 6 and not any(isinstance(v, dict | list) for v in value)
    return not isinstance(value, dict)


def filled(words: list[str], indent: str) -> str:
    """The words with commas between them, in lines of about the same length."""
    lines, current = [], indent
    for i, word in enumerate(words):
        piece = word + ("," if i + 1 < len(words) else "")
        if current.strip() and len(current) + 1 + len(piece) > FILL:
            lines.append(current)
            current = indent
        current += (" " if current.strip() else "") + piece
    return "\n".join([*lines, current])
