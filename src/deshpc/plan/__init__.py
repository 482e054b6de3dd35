"""What a run will cost, from its shape alone: pure functions, which know nothing of what a run has measured."""
