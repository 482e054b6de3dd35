"""What every deep model's definition says of itself."""


class Definition:
    """A model: the partials that it wants of rows, and its tower.

    operator : "pool" (every field's embeddings added up), "bi_interaction" (sums over all fields, `ops.bi_interaction`) or "field_sums" (`ops.field_sums`)
    linear   : the state's first column has the linear terms sum w x of the rows
    squares  : it has FM's own terms - 1/2 sum |v|^2 x^2
    field_dims : fields may have embeddings of different dimensions, since `logit` takes `inputs.x0` as a whole

    __init__(setting) makes the layers, which declare their parameters.  logit(tape, inputs), a generator, applies them to the
    `Inputs` of a block of samples and returns the Node of the logits (n), or (n, T) of several tasks; layers that may span the batch are applied by
    `yield from`.

    sequences : fields may have a `target`: `logit` then gets the values of a sequence one by one (`Setting.sequences`), and `Inputs.lengths`

    first_layers : `FirstDense` layers, if nothing in `logit` depends on the order of fields in the inputs but these

    Where the setting has a `share`, owners compute a part of the model, and `logit` is not called:
    pushed_down : the splits under which the model has such a part
    partial(tape, inputs) : a generator, applied by each owner to all samples; returns Nodes, of `partial_widths` columns
    finish(tape, dense, *parts) : a generator; from these Nodes' sums over all owners to the Node of the logits
    owner_parameters : names of the parameters that `partial` uses
    owners_take_dense : whether it uses dense features, of which all samples' must be there: all ranks then read whole batches
    local_rows : (name, rows) of one of them whose first rows each belong to one owner under "field" and "column", or None
    """

    operator, linear, squares, field_dims, sequences = "pool", False, False, False, False
    share = None  # the setting's, where there is one
    pushed_down = ()  # splits under which owners can compute a partial
    layer_width = 0  # numbers of a sample that owners add up between layers of `partial`
    owners_take_dense = False  # whether `partial` uses the dense features
    partial_widths, owner_parameters, local_rows = (), (), None
    first_layers = ()

    def __init__(self, setting):
        raise NotImplementedError

    def logit(self, tape, inputs):
        """The logits' Node; a generator."""
        raise NotImplementedError
