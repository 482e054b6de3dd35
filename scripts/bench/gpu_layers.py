"""Cases of gpu_kernels.py on whole arrays: the layers of deep models, on float32, of batches of 26 fields, and sums of ranks and norms.

Each is a line (name, bytes, work).  Bytes are what the operation has to move at least: every array that it reads, once, and every
one that it writes, once.  Numbers are 4 bytes.
"""

from typing import NamedTuple

import numpy as np

from deshpc.backend.exact_norm import TERMS
from deshpc.backend.weight_form import WeightForm

NUMBER = 4  # bytes
DENSE = 13  # dense features, beside the embeddings in a cross layer
CROSS_LAYERS = 3
RANKS = 4
FRESH, ADDED = True, False  # whether a result replaces what was there or is added to it
RELU = 1
SEED, FIRST_SAMPLE, HALF, TWO = np.uint64(1), 0, 1 << 15, 2.0  # of dropout


class Sizes(NamedTuple):
    """samples;  fields;  dim, of embeddings;  hidden, units of a layer;  maps, of a layer of the CIN;  rows of it at a time"""

    samples: int
    fields: int
    dim: int
    hidden: int
    maps: int
    rows: int


def cases(backend, sizes):
    """{group: function that yields (name, bytes, work)}"""
    groups = _Layers(backend, sizes)
    return {
        "dense layers": groups.dense, "interactions": groups.interactions, "dot products": groups.dots, "cross layers": groups.cross,
        "CIN": groups.cin, "normalisations": groups.normalisations, "arrays": groups.arrays,
        "sums": groups.sums,
    }  # fmt: skip


class _Layers:
    """Makes the arrays of a group when its turn comes."""

    def __init__(self, backend, sizes):
        self._backend, self._sizes = backend, sizes

    def _zeros(self, *shapes, dtype=np.float32):
        return [self._backend.zeros(shape, dtype) for shape in shapes]

    def dense(self):
        n, h, dense = self._sizes.samples, self._sizes.hidden, self._backend.dense
        y, gradient, bias = self._zeros((n, h), (n, h), h)
        size = NUMBER * n * h
        yield "bias and ReLU", 2 * size, lambda: dense.bias_activation(y, bias, RELU)
        yield "ReLU, adjoint, sums of biases", 3 * size, lambda: dense.activation_adjoint(gradient, y, RELU, bias)
        yield "dropout", 2 * size, lambda: dense.drop(y, SEED, FIRST_SAMPLE, HALF, np.float32(TWO))

    def interactions(self):
        n, fields, k = self._sizes.samples, self._sizes.fields, self._sizes.dim
        kernels, form = self._backend.interaction, WeightForm.of(self._backend, k, "float32", "float32", "float32")
        x, total, squares, logit = self._zeros((n, fields * k), (n, k), (n, k), n)
        wide, narrow, one = NUMBER * n * fields * k, NUMBER * n * k, NUMBER * n
        yield "sums of fields", wide + 2 * narrow, lambda: kernels.sum_fields(form, fields, x, total)
        yield "halves of squares", narrow + 2 * one, lambda: kernels.half_squares(form, total, logit)
        yield "sums of fields, adjoint", narrow + wide, lambda: kernels.add_to_fields(form, fields, total, FRESH, x)
        yield "sums of fields, adjoint, added", narrow + 2 * wide, lambda: kernels.add_to_fields(form, fields, total, ADDED, x)
        yield "halves of differences", 3 * narrow, lambda: kernels.half_difference(total, squares)

    def dots(self):
        n, fields, k, kernels = self._sizes.samples, self._sizes.fields, self._sizes.dim, self._backend.interaction
        form, pairs = WeightForm.of(self._backend, k, "float32", "float32", "float32"), fields * (fields + 1) // 2
        x, gradient, last, last_gradient, result = self._zeros((n, fields * k), (n, fields * k), (n, k), (n, k), (n, k + pairs))
        vectors, products = NUMBER * n * (fields + 1) * k, NUMBER * n * pairs
        yield "dot products", vectors + products, lambda: kernels.dots(None, fields, x, last, None, result, k)
        yield (
            "dot products, adjoint", 2 * vectors + products + NUMBER * n * k,
            lambda: kernels.dots_adjoint(form, fields, x, last, result, k, gradient, FRESH, last_gradient),
        )  # fmt: skip

    def cross(self):
        n, d, width = self._sizes.samples, self._sizes.fields * self._sizes.dim + DENSE, CROSS_LAYERS + 1
        kernels, zero = self._backend.interaction, np.float32(0)
        x0, x, z, result, bias = self._zeros((n, d), (n, d), (n, d), (n, d), d)
        products, scalars, slopes, logit, constants = self._zeros((n, width), (n, width), (n, width), n, width)
        size, narrow = NUMBER * n * d, NUMBER * n
        yield "cross layer", 5 * size, lambda: kernels.cross(None, x0, x, z, bias, result)
        yield "cross layer, adjoint", 5 * size, lambda: kernels.cross_adjoint(None, x0, z, x, bias, result, d, FRESH)
        yield (
            "cross layers of DCN-v1", narrow * (2 * width + 1),
            lambda: kernels.cross_scalars(zero, products, constants, scalars, logit),
        )  # fmt: skip
        yield (
            "cross layers of DCN-v1, adjoint", narrow * (3 * width + 1),
            lambda: kernels.cross_scalars_adjoint(zero, products, scalars, logit, slopes, constants),
        )  # fmt: skip

    def cin(self):
        n, fields, k, maps, rows = self._sizes.samples, self._sizes.fields, self._sizes.dim, self._sizes.maps, self._sizes.rows
        kernels = self._backend.cin
        embeddings, first, of_layer, output = self._zeros((n, fields * k), (n * k, fields), (n * k, maps), (n, maps))
        products, upstream, slope, of_first = self._zeros((rows, maps * fields), (rows, maps * fields), (rows, maps), (rows, fields))
        wide, layer, narrow, each = NUMBER * n * k * fields, NUMBER * n * k * maps, NUMBER * n * maps, NUMBER * rows
        yield "CIN, by coordinate", 2 * wide, lambda: kernels.by_coordinate(embeddings, first)
        yield "CIN, by field, added", 3 * wide, lambda: kernels.by_field(first, embeddings, True)
        yield (
            "CIN, products", each * (maps * fields + maps + fields),
            lambda: kernels.products(of_layer[:rows], first[:rows], products),
        )  # fmt: skip
        yield (
            "CIN, products, adjoint", each * (maps * fields + 2 * maps + 3 * fields),
            lambda: kernels.products_adjoint(upstream, of_layer[:rows], first[:rows], slope, of_first),
        )  # fmt: skip
        yield "CIN, sums of coordinates", layer + narrow, lambda: kernels.sum_coordinates(of_layer, output)
        yield "CIN, sums of coordinates, adjoint", narrow + layer, lambda: kernels.spread_coordinates(output, of_layer, False)

    def normalisations(self):
        n, h, kernels, epsilon, momentum = self._sizes.samples, self._sizes.hidden, self._backend.normalisation, 1e-5, 0.1
        x, normal, y, of_samples, gain, shift, inverse = self._zeros((n, h), (n, h), (n, h), (n, 1), h, h, h)
        mean, variance, sums = self._zeros(h, h, 2 * h + 1, dtype=np.float64)
        size, narrow = NUMBER * n * h, NUMBER * n
        yield (
            "layer normalisation", 3 * size + narrow,
            lambda: kernels.layer(x, gain, shift, epsilon, of_samples, normal, y),
        )  # fmt: skip
        yield "layer normalisation, adjoint", 3 * size + narrow, lambda: kernels.layer_adjoint(x, normal, of_samples, gain)
        yield "batch normalisation, moments", size, lambda: kernels.moments(x, sums)
        yield (
            "batch normalisation", 3 * size,
            lambda: kernels.standardise(x, mean, variance, epsilon, gain, shift, inverse, normal, y),
        )  # fmt: skip
        yield "batch normalisation, sums", 2 * size, lambda: kernels.adjoint_sums(x, normal, shift, gain, sums)
        yield "batch normalisation, adjoint", 3 * size, lambda: kernels.batch_adjoint(x, normal, inverse, gain, sums)
        yield (
            "batch normalisation, statistics", 8 * (6 * h + 1),
            lambda: (kernels.statistics(sums, mean, variance), kernels.keep(sums, mean, variance, momentum, shift, gain)),
        )  # fmt: skip

    def arrays(self):
        n, h, kernels = self._sizes.samples, self._sizes.hidden, self._backend.arrays
        a, b, out, column, total = self._zeros((n, h), (n, h), (n, h), (n, 1), h)
        rows = self._backend.array(np.random.default_rng(1).permutation(n))
        size, narrow = NUMBER * n * h, NUMBER * n
        yield "fill", size, lambda: kernels.fill(out, 0)
        yield "put", 2 * size, lambda: kernels.put(a, out)
        yield "put, added", 3 * size, lambda: kernels.put(a, out, add=True)
        yield "rows, added", 3 * size + 8 * n, lambda: kernels.add_rows(a, rows, out)
        yield "product of arrays", 3 * size, lambda: kernels.multiply(a, b, out)
        yield "product with a column", 2 * size + narrow, lambda: kernels.multiply(a, column, out)
        yield "product, subtracted", 4 * size, lambda: kernels.subtract_product(a, b, out)
        yield "sums of columns", size, lambda: kernels.column_sums(a, total)
        yield "sums of columns, weighted", 2 * size, lambda: kernels.column_sums(a, total, b)
        yield "squares of rows", size + narrow, lambda: kernels.row_products(a, a, column, 1.0)

    def sums(self):
        n = self._sizes.samples * (1 + self._sizes.fields * self._sizes.dim)
        parts, total = self._zeros(RANKS * n, n)
        numbers, terms = self._backend.array(np.random.default_rng(1).random(n)), self._backend.zeros(TERMS, np.int64)
        yield f"sums of {RANKS} ranks", NUMBER * (RANKS + 1) * n, lambda: self._backend.rank_sums.add(parts, RANKS, total)
        yield "exact sum of float64", 8 * n, lambda: self._backend.update.add_exactly(numbers, terms)
