"""What is not in tables: dense parameters, the loss, and the tape with the layers of deep models."""
