"""Pairs of fields: field-aware, field-weighted and field-matrixed factorization machines.  Dense features are fields behind the others."""

import numpy as np

from deshpc.serve.forward.field_pairs import fields_of


def ffm(graph, top):
    """c + weights . dense + the pairs of the sums S (n, F G k)"""
    fields, dense = fields_of(top), _dense(graph, top)
    S = graph.input("S", top.n_fields * fields * top.dim) if top.n_fields else None
    parts = [graph.input("c"), *(_wide(graph, dense) if top.options["linear"] else [])]
    of_dense = _of_dense(graph, top, dense, "ffm.factors", fields * top.dim)
    sums = graph.reshape(graph.joined(S, of_dense), fields, fields, top.dim)
    both = graph.node("Mul", sums, graph.node("Transpose", sums, perm=[0, 2, 1, 3]))
    counted = np.ones((fields, fields)) / 2  # a dense feature has no pair with itself
    counted[np.arange(top.n_fields, fields), np.arange(top.n_fields, fields)] = 0
    products = graph.reshape(graph.reduce_sum(both, 3), fields * fields)
    return [*parts, graph.node("MatMul", products, graph.constant("counted", counted.ravel()))]


def fwfm(graph, top):
    """c + weights . dense + sum over f > g of r_fg <E_f, E_g>"""
    parts, x = _fields(graph, top, "fwfm.factors")
    met = graph.node("MatMul", graph.constant("r", np.tril(top.parameters["fwfm.weights"], -1)), graph.reshape(x, fields_of(top), top.dim))
    products = graph.node("Mul", x, graph.reshape(met, fields_of(top) * top.dim))
    return [*parts, graph.reduce_sum(products, 1)]


def fmfm(graph, top):
    """c + weights . dense + sum over f < g of E_f M_fg E_g"""
    parts, x = _fields(graph, top, "fmfm.factors")
    fields, dim = fields_of(top), top.dim
    whole = np.zeros((fields * dim, fields * dim))
    for f in range(fields - 1):
        whole[(f + 1) * dim :, f * dim : (f + 1) * dim] = top.parameters[f"fmfm.{f}.matrices"]
    met = graph.node("MatMul", x, graph.constant("matrices", whole))
    return [*parts, graph.reduce_sum(graph.node("Mul", x, met), 1)]


def _fields(graph, top, factors):
    """(parts of the logit beside the pairs, E of all fields (n, G k))."""
    dense = _dense(graph, top)
    E = graph.input("E", top.n_fields * top.dim) if top.n_fields else None
    parts = [graph.input("c"), *_wide(graph, dense)]
    return parts, graph.joined(E, _of_dense(graph, top, dense, factors, top.dim))


def _dense(graph, top):
    return graph.input("dense", top.n_dense) if top.n_dense else None


def _wide(graph, dense):
    return [graph.node("MatMul", dense, graph.parameter("linear.weights"))] if dense else []


def _of_dense(graph, top, dense, factors, width):
    """(n, n_dense width): x_d f_d side by side, None without dense features."""
    if not dense:
        return None
    return graph.reshape(graph.node("Mul", graph.reshape(dense, top.n_dense, 1), graph.parameter(factors)), top.n_dense * width)
