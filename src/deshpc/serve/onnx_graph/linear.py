"""The models without a network, and the pairs that DeepFM has too."""

import numpy as np


def lr(graph, top):
    """c + weights . dense"""
    parts = [graph.input("c")]
    if top.n_dense:
        parts.append(graph.node("MatMul", graph.input("dense", top.n_dense), graph.parameter("linear.weights")))
    return parts


def fm(graph, top):
    """c + weights . dense + pairs"""
    parts, total, dense = [graph.input("c")], graph.input("A", top.parameters["fm.factors"].shape[1]), None
    if top.n_dense:
        dense = graph.input("dense", top.n_dense)
        parts.append(graph.node("MatMul", dense, graph.parameter("fm.weights")))
    return [*parts, *pairs(graph, top, total, dense)]


def pairs(graph, top, total, dense):
    """|A|^2 / 2 and, with A having f_d dense_d too, - sum |f_d|^2 dense_d^2 / 2: parts of the logit.

    total (n, k) : A of the rows
    dense (n, n_dense) : None where there are no dense features
    """
    parts = []
    if dense:
        total = graph.node("Add", total, graph.node("MatMul", dense, graph.parameter("fm.factors")))
        half_squares = -np.square(top.parameters["fm.factors"], dtype=np.float64).sum(axis=1) / 2
        squares = graph.node("Mul", dense, dense)
        parts.append(graph.node("MatMul", squares, graph.constant("half_squares", half_squares)))
    square = graph.reduce_sum(graph.node("Mul", total, total), 1)
    return [*parts, graph.node("Mul", square, graph.constant("half", 0.5))]
