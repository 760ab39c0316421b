"""Kernels of our own, where the library's leave time on the table. Each has a slow reference in the tests."""
