"""Training: the step, the loop, metrics, the run's record, and the Python API."""
