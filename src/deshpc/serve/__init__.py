"""A trained model outside training: exported to one file, scored by NumPy alone, and as a scikit-learn-style classifier."""
