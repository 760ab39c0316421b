"""Optimizers, weight averages, and the rules that hand parameters to them; no torch until they step."""

from hotlap.optim.describe import EMA, LARS, SGD, Average, Lookahead, Muon, Optimizer, Rule

__all__ = ["EMA", "LARS", "SGD", "Average", "Lookahead", "Muon", "Optimizer", "Rule"]
