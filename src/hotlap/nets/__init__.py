"""Networks, as frozen descriptions that build modules. Importing this does not import torch."""

from hotlap.nets.describe import (
    LITES,
    AirNet,
    ConvStem,
    EfficientNetLite,
    Net,
    Norm,
    ResNet9,
    ResNet18,
    Stem,
    WhitenStem,
)

__all__ = [
    "LITES",
    "AirNet",
    "ConvStem",
    "EfficientNetLite",
    "Net",
    "Norm",
    "ResNet9",
    "ResNet18",
    "Stem",
    "WhitenStem",
]
