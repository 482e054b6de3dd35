"""Field-aware factorization machine (Juan et al., 2016), where a rank has whole samples, or its columns of them.

Every key, and every dense feature, has a vector for each field that it may meet; a dense feature is a field of its own.

    logit = bias + sum_j w_j x_j + sum_{i<j} <v_{i, field of j}, v_{j, field of i}> x_i x_j

over all keys and dense features of a sample, pairs inside a field included.  No coordinate of a vector meets another one, so the pairs are a sum
over columns: a rank that has some columns of all vectors gives one number a sample.

partial  z = sum of w x, where w is here, and the pairs over the own columns: s = 1 whatever fields and keys there are
finish   z plus the dense features' linear terms
adjoint  by the rows, which are read again: no sum of a sample is kept.  See `backend.cpu.ffm`
"""

import numpy as np

from deshpc.backend.arguments import Room, Vectors
from deshpc.backend.weight_form import WeightForm
from deshpc.nn.parts import shares
from deshpc.ops.fm import first_factors

FACTORS, WEIGHTS = "ffm.factors", "linear.weights"


class FieldAware:
    """The `Operators` of the model, on one table."""

    name, width, layer_width, repeats = "ffm", 1, 0, False

    def __init__(self, backend, table, vectors, columns, types, linear, reads_whole_batch):
        """vectors : G, fields and dense features
        columns : slice of each vector's that this rank has
        types : `Types`
        linear : whether there are linear terms
        reads_whole_batch : whether rows are of samples beyond those of the top
        """
        self._backend, self.table, self._vectors, self._columns = backend, table, vectors, columns
        own = columns.stop - columns.start
        self._pair = WeightForm.of(backend, own, *types)
        self._forms = Vectors(self._pair, WeightForm.of(backend, backend.ffm.FOUR * own, types.compute, types.compute))
        self._linear, self._reads_whole_batch = linear, reads_whole_batch
        self._scratch = backend.buffers()
        self._of_threads = [backend.buffers() for _ in range(backend.threads)]
        self._parameters = self._slots = None

    @staticmethod
    def parameters(n_dense, vectors, dim, linear):
        """{name: shape} of the dense parameters beside the bias.  dim : of a vector"""
        weights = {WEIGHTS: (n_dense,)} if linear else {}
        return {**weights, FACTORS: (n_dense, vectors * dim)}

    def begin(self, parameters, slots, seed, init_std):
        """Take the `Parameters`, and the `SlotSums` of the factors, None where there are no dense features; set first values.

        Factors start as a table would start rows, weights at zero.
        """
        self._parameters, self._slots = parameters, slots
        parameters.set(FACTORS, first_factors(seed, *parameters[FACTORS].shape, init_std))

    def partial(self, shards, samples, scale, found, stays=False):
        """Partials (samples, 1) of the ShardRows `shards`.  Valid until the next call."""
        state = self._scratch.array("state", (samples, 1), self._pair.zero.dtype)
        state.fill(0)
        self._dense = found.routed.shards[0].batch.dense if self._reads_whole_batch else found.routed.dense
        self._factors, linear, kernels = self._own_factors(), bool(self.table.layout.scalars), self._backend.ffm
        self._terms, places = kernels.new_terms(
            self._forms, self._vectors, len(self._factors), linear, [shard.occurrences for shard in shards], samples, self._scratch
        )

        def of_samples(thread, begin, end):
            for shard in shards:
                kernels.collect(self._forms, linear, shard.occurrences, self._terms, places, state, begin, end)
            kernels.partial(self._forms, self._terms, self._dense, self._factors, self._room(thread), state, begin, end)

        self._backend.each(of_samples, self._of_samples(samples))
        return state

    def finish(self, state, dense, parameters, logit, parts):
        """Add to logit (n), of some Parts of the samples, what complete states (n, 1) give."""
        begin, end = int(parts.edges[parts.begin]), int(parts.edges[parts.end])
        weights = parameters[WEIGHTS] if self._linear else self._scratch.array("no weights", 0, logit.dtype)
        self._backend.linear.finish(self._pair, state, 0, dense, weights, logit, begin, end)

    def finish_adjoint(self, state, dense, parameters, gradient, scale, parts):
        """Turn `state` into the gradient of the loss by it, from that by the logit (n); add up the linear weights' gradients: of some Parts."""
        sums = parameters.sums_of(WEIGHTS) if self._linear else self._scratch.array("no sums", (len(parts.edges) - 1, 0), gradient.dtype)
        self._backend.linear.finish_adjoint(self._pair, state, 0, dense, gradient, sums, scale, parts)

    def partial_adjoint(self, shards, state, scale):
        """Add the gradients of the rows of `shards`, of which the last partials are, to their sums, and those of the factors to theirs."""
        given = self._forms, self._terms, self._dense, self._factors
        kernels = self._backend.ffm

        def of_shard(thread, shard):
            forms, *others = given
            kernels.partial_adjoint(forms, shard.occurrences, *others, self._room(thread), state, shard.sums)

        self._backend.each(of_shard, list(enumerate(shards)))
        if self._slots is not None:
            self._backend.each(lambda *of: self._factors_adjoint(given, state, *of), self._of_samples(len(state)))

    def _factors_adjoint(self, given, state, thread, begin, end):
        sums = self._of_threads[thread].array("factor sums", self._factors.shape, self._factors.dtype)
        sums.fill(0)
        self._backend.ffm.factors_adjoint(*given, self._room(thread), state, sums, begin, end)
        out, fresh = self._slots.of(thread, FACTORS)
        if fresh:
            self._backend.arrays.fill(out, 0)
        self._backend.arrays.put(sums.reshape(-1, self._pair.dim), self._own_columns(out), add=True)

    def _of_samples(self, samples):
        return [(t, begin, end) for t, (begin, end) in enumerate(shares(samples, self._backend.threads))]

    def _own_factors(self):
        """(n_dense, G own columns): this rank's columns of the dense features' vectors."""
        factors = self._parameters[FACTORS]
        own = self._scratch.array("factors", (len(factors), self._vectors * self._pair.dim), factors.dtype)
        self._backend.arrays.put(self._own_columns(factors), own.reshape(-1, self._pair.dim))
        return own

    def _own_columns(self, factors):
        """(n_dense G, own columns) of an array (n_dense, G k), in place."""
        return factors.reshape(len(factors) * self._vectors, factors.shape[1] // self._vectors)[:, self._columns]

    def _room(self, thread):
        """The Room of a thread, of no sample."""
        buffers, vectors, kind = self._of_threads[thread], self._vectors, self._pair.zero.dtype
        return Room(
            buffers.array("counts", vectors, np.int32), buffers.array("fields", vectors, np.int64), buffers.array("addresses", vectors, np.int64),
            buffers.array("factors", (vectors, self._pair.dim), kind), buffers.zeros("sums", (vectors + 1, vectors * self._pair.dim), kind),
        )  # fmt: skip
