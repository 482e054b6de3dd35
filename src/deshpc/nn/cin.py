"""xDeepFM's compressed interaction network (CIN).

    X^{l+1}[h, c] = sum_{i, f} W^l[i, f, h] X^l[i, c] X^0[f, c];   output: sum_c X^l[h, c] of all layers l >= 1, side by side

Coordinates c never mix, so owners of other coordinates can each do theirs, and their outputs add up.
"""

from deshpc.nn.tape import Operator


class CIN(Operator):
    """embeddings (n, F k) -> (n, sum of H_l)."""

    learns = True

    def __init__(self, backend, values, name, dim, n_fields, layers):
        """layers : H_1, H_2, ..., feature maps of each layer"""
        self._kernels, self._dim, self._n_fields, self._layers, self.outputs = (
            backend.cin, dim, n_fields, tuple(layers), sum(layers)
        )
        self._most_bytes = backend.product_bytes
        before = (n_fields, *layers)
        self.parameters = [
            values.dense(f"{name}.{i}.weights", maps * n_fields, out) for i, (maps, out) in enumerate(zip(before, layers, strict=False))
        ]

    def forward(self, tape, embeddings):
        n, kernels = len(embeddings), self._kernels
        first = tape.array((n * self._dim, self._n_fields), embeddings.dtype)
        kernels.by_coordinate(embeddings, first)
        maps, result, begin = [first], tape.array((n, self.outputs), embeddings.dtype), 0
        for weights, out in zip(self.parameters, self._layers, strict=True):
            following = tape.array((len(first), out), embeddings.dtype)
            for a, b in self._pieces(maps[-1]):
                products = self._products(tape, maps[-1][a:b], first[a:b])
                tape.products.multiply_rows(products, tape.parameters[weights], following[a:b])
            kernels.sum_coordinates(following, result[:, begin : begin + out])
            maps.append(following)
            begin += out
        return result, maps

    def backward(self, tape, maps, gradient, into):
        kernels, first, upstream, end = self._kernels, maps[0], None, self.outputs
        of_first = tape.array(first.shape, first.dtype)
        tape.arrays.fill(of_first, 0)
        for layer in range(len(self._layers) - 1, -1, -1):
            out, before, weights = self._layers[layer], maps[layer], tape.parameters[self.parameters[layer]]
            fresh = upstream is None
            if fresh:
                upstream = tape.array(maps[layer + 1].shape, first.dtype)
            kernels.spread_coordinates(gradient[:, end - out : end], upstream, not fresh)
            end -= out
            slope, of_weights = tape.array(before.shape, first.dtype), tape.scratch.array("weights", weights.shape, first.dtype)
            tape.arrays.fill(of_weights, 0)
            for a, b in self._pieces(before):
                products = self._products(tape, before[a:b], first[a:b])
                tape.products.multiply(products.T, upstream[a:b], of_weights, add=True)
                tape.products.multiply(upstream[a:b], weights.T, products)
                kernels.products_adjoint(products, before[a:b], first[a:b], slope[a:b], of_first[a:b])
            tape.add(self.parameters[layer], lambda out, total=of_weights: tape.arrays.put(total, out))
            upstream = slope
        tape.arrays.put(upstream, of_first, add=True)
        kernels.by_field(of_first, into.array, not into.fresh)
        into.mark_written()

    def _products(self, tape, maps, first):
        """(r, H F): every map times every field.  Valid until the next call."""
        products = tape.scratch.array("products", (len(maps), maps.shape[1] * first.shape[1]), maps.dtype)
        self._kernels.products(maps, first, products)
        return products

    def _pieces(self, maps):
        """Ranges of rows whose products take `product_bytes` of the backend at most."""
        rows = max(1, self._most_bytes // max(1, maps.shape[1] * self._n_fields * maps.dtype.itemsize))
        return [(a, min(a + rows, len(maps))) for a in range(0, len(maps), rows)]
