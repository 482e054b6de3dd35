"""How good predictions are, over all ranks: nothing here depends on how samples are divided among them."""
