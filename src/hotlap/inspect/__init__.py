"""Looking into a training step: where its time goes, and what activations and weights do."""
