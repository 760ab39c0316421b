"""The numbers by which all kernels know the activations."""

ACTIVATIONS = {"relu": 0, "celu": 1, "silu": 2, "gelu": 3}
