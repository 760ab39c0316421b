"""Data sets by name or of one's own, on the host: found, verified, decoded, and packed for the next start.

Nothing here imports torch.
"""

from hotlap.data.checked import CheckReport
from hotlap.data.cleaning import clean
from hotlap.data.dataset import Dataset, Split
from hotlap.data.facts import Facts
from hotlap.data.held_out import hold_out
from hotlap.data.moments import data_spec
from hotlap.data.named import SourceInfo, available, known_spec
from hotlap.data.sources import check, get, load, load_to_measure, survey

__all__ = [
    "CheckReport",
    "Dataset",
    "Facts",
    "SourceInfo",
    "Split",
    "available",
    "check",
    "clean",
    "data_spec",
    "get",
    "hold_out",
    "known_spec",
    "load",
    "load_to_measure",
    "survey",
]
