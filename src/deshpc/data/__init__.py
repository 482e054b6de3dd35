"""Samples: where they come from (files of rows, caches, synthetic), how they lie in memory, and in which order a run sees them."""
