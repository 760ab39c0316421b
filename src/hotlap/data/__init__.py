"""Data sets by name, on the host: found or downloaded, verified, and packed for the next start.

Nothing here imports torch.
"""

from hotlap.data.cleaning import clean
from hotlap.data.dataset import Dataset, Split
from hotlap.data.held_out import hold_out
from hotlap.data.packed import data_spec
from hotlap.data.sources import CheckReport, SourceInfo, available, check, get, load

__all__ = [
    "CheckReport",
    "Dataset",
    "SourceInfo",
    "Split",
    "available",
    "check",
    "clean",
    "data_spec",
    "get",
    "hold_out",
    "load",
]
