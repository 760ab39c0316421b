"""Why an image cannot be read."""

from __future__ import annotations

SAVE = "which is not read; save it as PNG or JPEG"


class Unreadable(Exception):
    """An image that cannot be read.

    Args:
        reason: why, in words: "empty", "truncated", "corrupt", "not an image", "a web page, not an image",
            "900 megapixels, over the limit of 200", ...
        detail: what the decoder said, if it said anything.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return self.reason
