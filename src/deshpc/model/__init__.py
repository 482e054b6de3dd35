"""A model's stations together, the kinds of sums, and how a configuration builds them."""
