"""Attention between the embeddings of a sample's fields (Vaswani et al. 2017, as AutoInt has it, Song et al. 2019).

    q = e W_q,  k = e W_k,  v = e W_v of each field e, divided among heads;  no scaling by 1 / sqrt(d)
    e' = relu(sum over fields j of softmax_j(<q, k_j>) v_j  +  e W_r)
"""

from deshpc.nn.tape import Operator


class FieldVectors(Operator):
    """E (n, F k), dense (n, n_dense) -> ((F + n_dense) fields of every sample, k): embeddings, then each dense feature's number times a vector."""

    learns = True

    def __init__(self, values, name, bound, n_fields, n_dense, dim):
        self._factors, self._fields, self._dense, self._dim = values.uniform(name, bound, n_dense, dim), n_fields, n_dense, dim

    def forward(self, tape, embeddings, dense):
        n, width = len(embeddings), self._fields * self._dim
        vectors = tape.array((n, width + self._dense * self._dim), embeddings.dtype)
        tape.arrays.put(embeddings, vectors[:, :width])
        for d, place in self._places():
            factors = tape.parameters[self._factors][d : d + 1]
            tape.products.multiply_rows(dense[:, d : d + 1], factors, vectors[:, place])
        return vectors.reshape(n * (self._fields + self._dense), self._dim), dense

    def backward(self, tape, dense, gradient, of_embeddings, _):
        n, width = len(dense), self._fields * self._dim
        gradient = gradient.reshape(n, width + self._dense * self._dim)
        of_embeddings.add(tape, gradient[:, :width])
        for d, place in self._places():
            tape.add_product(self._factors, dense[:, d : d + 1], gradient[:, place], slice(d, d + 1))

    def _places(self):
        """(number, columns) of each dense feature."""
        return [(d, slice((self._fields + d) * self._dim, (self._fields + d + 1) * self._dim)) for d in range(self._dense)]


class SelfAttention(Operator):
    """Fields (n F, k) -> (n F, d), d numbers of all heads."""

    learns = True

    def __init__(self, backend, values, name, inputs, outputs, heads, fields):
        """fields : F, of a sample"""
        self._kernels = backend.self_attention
        self._weights = [values.dense(f"{name}.{part}", inputs, outputs) for part in ("queries", "keys", "values", "rest")]
        self.outputs, self._heads, self._fields = outputs, heads, fields

    def forward(self, tape, x):
        shape, n = (len(x), self.outputs), len(x) // max(1, self._fields)
        *inputs, rest = (tape.array(shape, x.dtype) for _ in self._weights)
        for weights, product in zip(self._weights, (*inputs, rest), strict=True):
            tape.products.multiply_rows(x, tape.parameters[weights], product)
        shares = tape.array((n, self._heads, self._fields, self._fields), x.dtype)
        result = tape.array(shape, x.dtype)
        self._kernels.attend(*inputs, self._heads, shares, result)
        tape.arrays.put(rest, result, add=True)
        return result, (x, inputs, shares)

    def backward(self, tape, saved, gradient, into):
        x, inputs, shares = saved
        gradients = [tape.array(gradient.shape, gradient.dtype) for _ in inputs]
        self._kernels.attend_adjoint(gradient, *inputs, self._heads, shares, *gradients)
        for weights, one in zip(self._weights, (*gradients, gradient), strict=True):
            tape.add_product(weights, x, one)
            into.add_product(tape, one, tape.parameters[weights])


class SideBySide(Operator):
    """Fields (n F, d) -> (n, F d)."""

    def __init__(self, fields):
        self._fields = fields

    def forward(self, tape, x):
        return x.reshape(len(x) // max(1, self._fields), self._fields * x.shape[1]), x.shape

    def backward(self, tape, shape, gradient, into):
        into.add(tape, gradient.reshape(shape))
