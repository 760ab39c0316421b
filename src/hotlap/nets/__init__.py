"""Networks, as frozen descriptions that build modules. Importing this does not import torch."""

from hotlap.nets.describe import AirNet, ConvStem, Net, Norm, ResNet9, ResNet18, Stem, WhitenStem

__all__ = ["AirNet", "ConvStem", "Net", "Norm", "ResNet9", "ResNet18", "Stem", "WhitenStem"]
