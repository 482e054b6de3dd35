"""Runs: the step, the loop around it, evaluation and prediction, a run's record, checkpoints and traffic, and the Python API."""
