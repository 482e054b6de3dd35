"""A trained model outside training: exported to one file, or as deltas of one, and scored by NumPy alone."""
