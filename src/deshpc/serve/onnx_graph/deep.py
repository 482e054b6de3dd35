"""A network above pooled embeddings, and what they and their pairs add: Wide & Deep, DeepFM, NFM."""

import numpy as np

from deshpc.serve.onnx_graph.layers import deep, inputs, wide
from deshpc.serve.onnx_graph.linear import pairs


def wide_deep(graph, top):
    """c + w_d . dense + w . MLP(x_0)"""
    E, dense = inputs(graph, top)
    return [*wide(graph, top, dense), *deep(graph, top, graph.joined(E, dense))]


def deepfm(graph, top):
    """c + w_d . dense + pairs + w . MLP(x_0)"""
    E, dense = inputs(graph, top)
    total = graph.reduce_sum(graph.reshape(E, top.n_fields, top.dim), 1) if E else graph.zeros(top.dim)
    return [*wide(graph, top, dense), *pairs(graph, top, total, dense), *deep(graph, top, graph.joined(E, dense))]


def nfm(graph, top):
    """c + w_d . dense + w . MLP((A^2 - Q) / 2)"""
    total, squares, dense = graph.input("A", top.dim), graph.input("Q", top.dim), None
    if top.n_dense:
        dense, factors = graph.input("dense", top.n_dense), top.parameters["fm.factors"]
        total = graph.node("Add", total, graph.node("MatMul", dense, graph.parameter("fm.factors")))
        square_factors = graph.constant("square_factors", np.square(factors, dtype=np.float64))
        squares = graph.node("Add", squares, graph.node("MatMul", graph.node("Mul", dense, dense), square_factors))
    twice = graph.node("Sub", graph.node("Mul", total, total), squares)
    return [*wide(graph, top, dense), *deep(graph, top, graph.node("Mul", twice, graph.constant("half", 0.5)))]
