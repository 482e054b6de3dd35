"""The first layer above pooled embeddings: products of rows that repeat in a batch are made once a row (`ops.repeated`)."""

from deshpc.nn.dense import Dense


class FirstDense(Dense):
    """As `Dense`, of x_0.  Where the batch has repeated rows with embeddings V:

    P = V W_f;  x_0 W = (what is left of x_0) W_rest + sum x P over the sample's repeated rows
    dP = sum x dz over samples;  dW_f = V^T dP, dV = dP W_f^T
    """

    def __init__(self, backend, values, name, inputs, outputs, n_dense, activation="identity", bias=True, bound=None):
        super().__init__(backend, values, name, inputs, outputs, activation, bias, bound)
        self._backend, self._n_dense, self._repeated = backend, n_dense, None
        self._scratch, self._threads = backend.buffers(), []

    def begin(self, parameters, repeated, slots):
        """Make the products of a batch's RepeatedRows, or None; slots : number of those of tapes."""
        self._repeated = repeated
        if repeated is None:
            return
        weights = parameters[self.weights]
        kernels, kind, dim = self._backend.repeated, str(weights.dtype), repeated.rows.shape[1]
        self._lanes = [self._backend.lanes(count, kind, kind) for count in (kernels.WIDE, kernels.NARROW)]
        self._inputs = repeated.remaining_inputs(self._n_dense)
        self._rest = weights[self._inputs]
        self._products = self._scratch.array("products", (len(repeated.rows), self.outputs), weights.dtype)
        for field, begin, end in repeated.fields:
            own = weights[field * dim : (field + 1) * dim]
            self._backend.products.multiply_rows(repeated.rows[begin:end], own, self._products[begin:end])
        while len(self._threads) < slots:
            self._threads.append(self._backend.buffers())
        self._used = {}

    def forward(self, tape, x):
        if self._repeated is None:
            return super().forward(tape, x)
        zero, left = self._products.dtype.type(0), x[:, self._repeated.columns :]
        y = tape.array((len(x), self.outputs), zero.dtype)
        tape.products.multiply_rows(left, self._rest, y)
        for shard, slots in self._repeated.shards:
            self._backend.repeated.add_products(
                *self._lanes, zero, shard.occurrences, slots, self._products, tape.begin, y
            )
        if self.bias is not None:
            self._kernels.bias_activation(y, tape.parameters[self.bias], self._activation)
        return y, (left, y)

    def backward(self, tape, saved, gradient, into):
        if self._repeated is None:
            return super().backward(tape, saved, gradient, into)
        left, y = saved
        if self.bias is not None:
            tape.add(self.bias, lambda out: self._kernels.activation_adjoint(gradient, y, self._activation, out))
        of_products, of_rest = self._sums(tape)
        zero = gradient.dtype.type(0)
        for shard, slots in self._repeated.shards:
            self._backend.repeated.add_gradients(
                *self._lanes, zero, shard.occurrences, slots, gradient, tape.begin, of_products
            )
        tape.products.multiply(left.T, gradient, of_rest, add=True)
        columns = self._repeated.columns
        if into.fresh:
            into.array[:, :columns] = 0
        others = self._rest[: into.array.shape[1] - columns].T
        tape.products.multiply(gradient, others, into.array[:, columns:], add=not into.fresh)
        into.mark_written()

    def finish(self, parameters, sums):
        """Put the weights' gradient into `sums`, a `SlotSums`, and that of the repeated rows into their shards' sums."""
        if self._repeated is None:
            return
        weights, (dim, kind) = parameters[self.weights], (self._repeated.rows.shape[1], str(self._products.dtype))
        of_products, of_rest = (sum(parts[1:], start=parts[0]) for parts in zip(*self._used.values(), strict=True))
        total, fresh = sums.of(0, self.weights)
        if fresh:
            total[...] = 0
        total[self._inputs] += of_rest
        of_rows = self._scratch.array("rows", self._repeated.rows.shape, weights.dtype)
        for field, begin, end in self._repeated.fields:
            own = slice(field * dim, (field + 1) * dim)
            self._backend.products.multiply(self._repeated.rows[begin:end].T, of_products[begin:end], total[own], add=True)
            self._backend.products.multiply(of_products[begin:end], weights[own].T, of_rows[begin:end])
        lanes = self._backend.lanes(dim, kind, kind)
        for shard, slots in self._repeated.shards:
            self._backend.repeated.add_to_rows(lanes, dim, slots, of_rows, shard.sums.vector)

    def _sums(self, tape):
        """(gradient of products (R, h), of the remaining inputs' weights) that this thread adds up."""
        if tape.slot not in self._used:
            scratch = self._threads[tape.slot]
            arrays = scratch.array("products", self._products.shape, self._products.dtype), scratch.array(
                "rest", self._rest.shape, self._rest.dtype
            )
            for array in arrays:
                array[...] = 0
            self._used[tape.slot] = arrays
        return self._used[tape.slot]
