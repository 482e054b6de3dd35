"""Files that are whole or absent, the container of caches, checkpoints and exported models, strict JSON, a lock; NumPy only."""
