"""How partial results become complete states, and gradients come back to the rows: one file a way."""
