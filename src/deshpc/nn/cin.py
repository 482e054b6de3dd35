"""xDeepFM's compressed interaction network (CIN).

    X^{l+1}[h, c] = sum_{i, f} W^l[i, f, h] X^l[i, c] X^0[f, c];   output: sum_c X^l[h, c] of all layers l >= 1, side by side

Coordinates c never mix, so owners of other coordinates can each do theirs, and their outputs add up.
"""

import numpy as np

from deshpc.nn.tape import Operator

_BYTES = 1 << 22  # of products held at a time


class CIN(Operator):
    """embeddings (n, F k) -> (n, sum of H_l)."""

    learns = True

    def __init__(self, values, name, dim, n_fields, layers):
        """layers : H_1, H_2, ..., feature maps of each layer"""
        self._dim, self._n_fields, self._layers, self.outputs = dim, n_fields, tuple(layers), sum(layers)
        before = (n_fields, *layers)
        self.parameters = [
            values.dense(f"{name}.{i}.weights", maps * n_fields, out) for i, (maps, out) in enumerate(zip(before, layers, strict=False))
        ]

    def forward(self, tape, embeddings):
        n, first = len(embeddings), self._by_coordinate(tape, embeddings)
        maps, result, begin = [first], tape.array((n, self.outputs), embeddings.dtype), 0
        for weights, out in zip(self.parameters, self._layers, strict=True):
            following = tape.array((len(first), out), embeddings.dtype)
            for a, b in self._pieces(maps[-1]):
                tape.products.multiply_rows(_products(maps[-1][a:b], first[a:b]), tape.parameters[weights], following[a:b])
            following.reshape(n, self._dim, out).sum(axis=1, out=result[:, begin : begin + out])
            maps.append(following)
            begin += out
        return result, maps

    def backward(self, tape, maps, gradient, into):
        n, first = len(gradient), maps[0]
        of_first, upstream, end = np.zeros_like(first), None, self.outputs
        for layer in range(len(self._layers) - 1, -1, -1):
            out, before, weights = self._layers[layer], maps[layer], tape.parameters[self.parameters[layer]]
            pooled = np.repeat(gradient[:, end - out : end], self._dim, axis=0)
            upstream = pooled if upstream is None else upstream + pooled
            end -= out
            slope, of_weights = np.empty_like(before), np.zeros_like(weights)
            for a, b in self._pieces(before):
                products = _products(before[a:b], first[a:b])
                tape.products.multiply(products.T, upstream[a:b], of_weights, add=True)
                tape.products.multiply(upstream[a:b], weights.T, products)
                by_products = products.reshape(b - a, before.shape[1], self._n_fields)
                np.einsum("nhf,nf->nh", by_products, first[a:b], out=slope[a:b])
                of_first[a:b] += np.einsum("nhf,nh->nf", by_products, before[a:b])
            tape.add(self.parameters[layer], lambda out, total=of_weights: np.copyto(out, total))
            upstream = slope
        of_first += upstream
        by_field = of_first.reshape(n, self._dim, self._n_fields).transpose(0, 2, 1).reshape(n, self._dim * self._n_fields)
        into.add(by_field)

    def _by_coordinate(self, tape, embeddings):
        """(n k, F): the fields' numbers of every coordinate."""
        n = len(embeddings)
        first = tape.array((n * self._dim, self._n_fields), embeddings.dtype)
        first.reshape(n, self._dim, self._n_fields)[...] = embeddings.reshape(n, self._n_fields, self._dim).transpose(0, 2, 1)
        return first

    def _pieces(self, maps):
        """Ranges of rows whose products take _BYTES at most."""
        rows = max(1, _BYTES // max(1, maps.shape[1] * self._n_fields * maps.itemsize))
        return [(a, min(a + rows, len(maps))) for a in range(0, len(maps), rows)]


def _products(maps, first):
    """(n, H F): every map times every field."""
    return (maps[:, :, None] * first[:, None, :]).reshape(len(maps), maps.shape[1] * first.shape[1])
