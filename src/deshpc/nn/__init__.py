"""What is not in tables: dense parameters, the loss, and the layers of deep models on a tape, whose blocks may go in lockstep."""
