"""A chain of runs, one a day: each starts from the one before, scores its day, learns it, and is exported."""
