"""Optimizers, weight averages, and the rules that hand parameters to them; no torch until they step."""

from hotlap.optim.describe import EMA, SGD, Average, Lookahead, Muon, Optimizer, Rule

__all__ = ["EMA", "SGD", "Average", "Lookahead", "Muon", "Optimizer", "Rule"]
