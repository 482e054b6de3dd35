"""Files that are whole or absent, and the one binary container of caches, checkpoints and exported models; NumPy only."""
