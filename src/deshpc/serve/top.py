"""What is above a model's pooled rows: all that a forward or a graph is made from."""

from typing import NamedTuple


class Top(NamedTuple):
    """options : of `[model]`, a dictionary;  parameters : {name: array}, the dense parameters, as training declares them
    n_fields F, n_dense : of a sample
    """

    options: dict
    parameters: dict
    n_fields: int
    n_dense: int

    @property
    def name(self):
        """`model.name`."""
        return self.options["name"]

    @property
    def dim(self):
        """k, numbers of an embedding."""
        return self.options["dim"]
