"""Samples: where they come from (text, synthetic), how they lie in memory, and in which order a run sees them."""
