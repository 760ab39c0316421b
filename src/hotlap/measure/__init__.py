"""Measurements of many runs: what a recipe costs, and what one buys over another."""
