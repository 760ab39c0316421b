"""A run: a recipe trained on a data set into a folder, resumable at any step."""
