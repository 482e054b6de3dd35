"""A model on disk: written by N ranks, read by M; checkpoints of a run are such models with the place where to go on."""
