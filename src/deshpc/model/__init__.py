"""What a step walks a batch through: a model's stations together, tops, dense sums, fixed point, and how a config builds them."""
