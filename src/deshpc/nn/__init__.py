"""What every rank holds whole: dense parameters, and the loss."""
