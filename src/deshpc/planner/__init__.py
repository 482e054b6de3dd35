"""What a run would send, need and take, for every valid way to split it: from a configuration and what its data look like, before it runs."""
