"""What was found in a data set of the user's own while it was read: counts, remarks, what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

NAMED = 1000  # bad files kept by name; all are counted


@dataclass(frozen=True)
class Facts:
    """What reading a set of one's own came to. It goes to JSON by `as_json` and back by `from_json`.

    Args:
        layout: what the source was recognised as, in words ("class-per-folder with train/ and val/").
        counts: images of each class, in label order, by split ("train", "val", "test").
        missed: images of classes that the training images lack, by class; their label is -1.
        imbalance: training images of the commonest class for each one of the rarest.
        made: the share of the training images put aside as "val", where the source has no other split; else
            0.
        size_rule: why the images have the size they have.
        remarks: what the user should know, one line each.
        bad: the images that do not read, as (name, reason); the first 1,000 of them.
        bad_count: how many do not read.
        passed_over: how many files were no images, hidden, and so on, by kind.
        decoded, reused: images decoded when this was packed, and taken over from the pack before.
        seconds: of decoding, by the clock on the wall.
    """

    layout: str
    counts: Mapping[str, tuple[int, ...]]
    missed: Mapping[str, int]
    imbalance: float
    made: float
    size_rule: str
    remarks: tuple[str, ...]
    bad: tuple[tuple[str, str], ...]
    bad_count: int
    passed_over: Mapping[str, int]
    decoded: int
    reused: int
    seconds: float

    @property
    def rate(self) -> float:
        """Images decoded a second; 0 if none was."""
        return self.decoded / self.seconds if self.decoded and self.seconds > 0 else 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Facts:
        """The facts that `as_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        return cls(
            **{
                **value,
                "counts": {split: tuple(n) for split, n in value["counts"].items()},
                "remarks": tuple(value["remarks"]),
                "bad": tuple((str(name), str(reason)) for name, reason in value["bad"]),
            }
        )

    def lines(self) -> list[str]:
        """The remarks, and a line on the images that do not read, if there are any."""
        return [*self.remarks, *([bad_line(self.bad, self.bad_count)] if self.bad_count else [])]


def bad_line(bad: tuple[tuple[str, str], ...], count: int) -> str:
    """One line on images that do not read: how many, and the first three by name with the reason."""
    named = ", ".join(f"{name} ({reason})" for name, reason in bad[:3])
    more = f" and {count - 3:,} more" if count > 3 else ""
    head = "1 image does not read and is" if count == 1 else f"{count:,} images do not read and are"
    return f"{head} left out: {named}{more}"
