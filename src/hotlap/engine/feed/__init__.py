"""Where a program's batches come from: a file for each way of loading."""
