"""What leaves a run: its saved model, at work on test sets and on image files."""
