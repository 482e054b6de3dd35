"""Interactions of fields: DLRM's dot products and xDeepFM's compressed interaction network (CIN)."""

import numpy as np

from deshpc.serve.onnx_graph.layers import deep, inputs, network, product, wide


def dlrm(graph, top):
    """w . MLP(z and the dot products of all pairs of E_1 .. E_F, z), with z = MLP(dense)"""
    E, dense = inputs(graph, top)
    vectors, z = top.n_fields + 1, network(graph, top, "bottom", dense, (*top.options["bottom_hidden"], top.dim))
    dots = _dots(graph, graph.reshape(graph.joined(E, z), vectors, top.dim), vectors) if E else None
    return [product(graph, "top.out", network(graph, top, "top", graph.joined(z, dots), top.options["hidden"]))]


def xdeepfm(graph, top):
    """c + w_d . dense + w . CIN(E) + w . MLP(x_0)"""
    E, dense = inputs(graph, top)
    parts = [*wide(graph, top, dense), *deep(graph, top, graph.joined(E, dense))]
    if not (E and top.options["cin_layers"]):
        return parts
    fields = graph.node("Transpose", graph.reshape(E, top.n_fields, top.dim), perm=[0, 2, 1])  # (n, k, F)
    first = graph.reshape(fields, top.dim, 1, top.n_fields)
    maps, before, sums = fields, top.n_fields, []
    for layer, out in enumerate(top.options["cin_layers"]):
        products = graph.node("Mul", graph.reshape(maps, top.dim, before, 1), first)
        flat = graph.reshape(products, top.dim, before * top.n_fields)
        maps, before = graph.node("MatMul", flat, graph.parameter(f"cin.{layer}.weights")), out
        sums.append(graph.reduce_sum(maps, 1))
    return [product(graph, "cin.out", graph.joined(*sums)), *parts]


def _dots(graph, x, vectors):
    """(n, pairs): <x_f, x_h> for all f > h of x (n, vectors, k)."""
    products = graph.node("MatMul", x, graph.node("Transpose", x, perm=[0, 2, 1]))
    later, earlier = np.tril_indices(vectors, -1)
    pairs = graph.constant("pairs", later * vectors + earlier, np.int64)
    return graph.node("Gather", graph.reshape(products, vectors * vectors), pairs, axis=1)
