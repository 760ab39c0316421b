"""Commands in Markdown: what stands in fences marked `sh`, and `hotlap` lines within a text."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`(hotlap [\w-]+ [^`]+)`")  # a verb alone is not a command
OPEN = re.compile(r"\b[A-Z]+\b")  # what stands for a word of the reader's, as in `hotlap recipes show R`


def fences(page: str) -> list[str]:
    """The scripts of a page, in its order."""
    return [text for kind, text in FENCE.findall(page) if kind == "sh"]


def commands(script: str) -> list[list[str]]:
    """The words of each command of a script, without its comments."""
    found: list[list[str]] = []
    for line in script.replace("\\\n", " ").splitlines():
        reader = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        reader.whitespace_split = True
        found.append([])
        for word in reader:
            if set(word) <= set("&|;"):
                found.append([])
            else:
                found[-1].append(word)
    return [words for words in found if words]


def of_hotlap(script: str) -> list[list[str]]:
    """The arguments of each `hotlap` of a script, and of each `python -m hotlap`."""
    found = []
    for words in commands(script):
        if words[0] == "hotlap":
            found.append(words[1:])
        elif ("-m", "hotlap") in pairwise(words):
            found.append(words[words.index("hotlap") + 1 :])
    return found


def named(page: str) -> list[list[str]]:
    """The arguments of each `hotlap` command that a page names, in a fence or within its text."""
    spans = [s for s in SPAN.findall(FENCE.sub("", page)) if not OPEN.search(s)]
    return [words for script in [*fences(page), *spans] for words in of_hotlap(script)]
