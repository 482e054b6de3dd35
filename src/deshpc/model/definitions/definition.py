"""What every deep model's definition says of itself."""


class Definition:
    """A model: the partials that it wants of rows, and its tower.

    operator : "pool" (every field's embeddings added up) or "bi_interaction" (sums over all fields, `ops.bi_interaction`)
    linear   : the state's first column has the linear terms sum w x of the rows
    squares  : it has FM's own terms - 1/2 sum |v|^2 x^2

    __init__(setting) makes the layers, which declare their parameters.  logit(tape, inputs), a generator, applies them to the
    `Inputs` of a block of samples and returns the Node of the logits (n); layers that may span the batch are applied by
    `yield from`.
    """

    operator, linear, squares = "pool", False, False

    def __init__(self, setting):
        raise NotImplementedError

    def logit(self, tape, inputs):
        """The logits' Node; a generator."""
        raise NotImplementedError
