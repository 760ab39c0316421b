"""What a run runs on: processor, device, the arithmetic measured fastest on it, kernels of our own."""
