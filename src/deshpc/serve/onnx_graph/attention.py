"""Models with attention: DIN, of a sequence's values to a target, and AutoInt, between fields."""

import numpy as np

from deshpc.serve.onnx_graph.layers import activation, deep, inputs, product


def din(graph, top):
    """w . MLP(x_0), with weighed sums in the place of the sequences' zeros."""
    E, dense = inputs(graph, top)
    sums, lengths = {}, graph.input("lengths", len(top.attended))
    for number, one in enumerate(top.attended):
        target = graph.columns(E, one.target * top.dim, (one.target + 1) * top.dim)
        sums[one.field] = _weighed(graph, top, number, one.length, target, graph.columns(lengths, number, number + 1))
    parts = [sums.get(field) or graph.columns(E, field * top.dim, (field + 1) * top.dim) for field in range(top.n_fields)]
    return deep(graph, top, graph.joined(*parts, dense))


def _weighed(graph, top, number, length, target, lengths):
    """(n, k): the sum of a sequence's values, weighed by their likeness to the target (n, k).  lengths (n, 1)"""
    name, values = f"attention.{number}", graph.input(f"values_{number}", length, top.dim)
    t = graph.node("Add", graph.reshape(target, 1, top.dim), graph.node("Mul", values, graph.constant("nothing", 0.0)))
    x = graph.node("Concat", values, t, graph.node("Sub", values, t), graph.node("Mul", values, t), axis=2)
    for i in range(len(top.options["attention_hidden"])):
        z = graph.node("MatMul", x, graph.parameter(f"{name}.{i}.weights"))
        x = activation(graph, top, graph.node("Add", z, graph.parameter(f"{name}.{i}.bias")))
    numbers = graph.node("MatMul", x, graph.parameter(f"{name}.out.weights"))  # (n, L, 1)
    if top.options["attention_weights"] == "plain":  # what is not there is zero, so its weight does not matter
        weights = graph.node("Add", numbers, graph.parameter(f"{name}.out.bias"))
    else:
        places = graph.constant(f"{name}.places", np.arange(length).reshape(1, length, 1))
        there = graph.node("Less", places, graph.reshape(lengths, 1, 1))
        weights = graph.node("Softmax", graph.node("Where", there, numbers, graph.constant("far below", -1e30)), axis=1)
    return graph.reduce_sum(graph.node("Mul", weights, values), 1)


def autoint(graph, top):
    """w_a . (fields after attention) + w . MLP(x_0)"""
    E, dense = inputs(graph, top)
    fields, heads, x = top.n_fields + top.n_dense, top.options["attention_heads"], None
    if E:
        x = graph.reshape(E, top.n_fields, top.dim)
    if dense:
        vectors = graph.node("Mul", graph.reshape(dense, top.n_dense, 1), graph.parameter("attention.factors"))
        x = graph.node("Concat", x, vectors, axis=1) if x else vectors
    for i, width in enumerate(top.options["attention_layers"]):
        query, key, value = (
            graph.node("Transpose", graph.reshape(graph.node("MatMul", x, graph.parameter(f"attention.{i}.{part}")), fields, heads, width // heads), perm=order)
            for part, order in (("queries", [0, 2, 1, 3]), ("keys", [0, 2, 3, 1]), ("values", [0, 2, 1, 3]))
        )
        shares = graph.node("Softmax", graph.node("MatMul", query, key), axis=3)
        result = graph.node("Transpose", graph.node("MatMul", shares, value), perm=[0, 2, 1, 3])
        rest = graph.node("MatMul", x, graph.parameter(f"attention.{i}.rest"))
        x = graph.node("Relu", graph.node("Add", graph.reshape(result, fields, width), rest))
    flat = graph.reshape(x, fields * top.options["attention_layers"][-1])
    return [product(graph, "attention.out", flat), *deep(graph, top, graph.joined(E, dense))]
