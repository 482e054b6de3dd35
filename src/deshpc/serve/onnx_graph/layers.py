"""Dense layers."""

from deshpc.serve.forward.layers import EPSILON

_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


def network(graph, top, name, x, widths):
    """x (n, inputs) through the layers NAME.0, NAME.1, ... of these widths; x : None where there are no inputs."""
    for i, width in enumerate(widths):
        layer = f"{name}.{i}"
        z = graph.node("MatMul", x, graph.parameter(f"{layer}.weights")) if x else graph.zeros(width)
        x = activation(graph, top, _normalised(graph, top, layer, z))
    return x


def activation(graph, top, z):
    """f(z) of hidden layers."""
    return graph.node(_ACTIVATIONS[top.options["activation"]], z)


def product(graph, name, x):
    """x . w (n), of the weights (inputs, 1) of a layer of one unit without bias."""
    return graph.reshape(graph.node("MatMul", x, graph.parameter(f"{name}.weights")))


def wide(graph, top, dense):
    """[c, w_d . dense], the second where there are dense features: parts of the logit."""
    return [graph.input("c"), *([product(graph, "wide", dense)] if dense else [])]


def deep(graph, top, x):
    """[w . MLP(x)]: a part of the logit."""
    return [product(graph, "deep.out", network(graph, top, "deep", x, top.options["hidden"]))]


def inputs(graph, top):
    """(E (n, sum of the fields' k), dense (n, n_dense)), None where there are no fields or no dense features; joined they are x_0."""
    E = graph.input("E", sum(top.field_dims)) if top.n_fields else None
    dense = graph.input("dense", top.n_dense) if top.n_dense else None
    return E, dense


def _normalised(graph, top, layer, z):
    """z and bias, or z normalised over its units or by running statistics, with gain and shift."""
    kind = top.options["normalisation"]
    if kind == "none":
        return graph.node("Add", z, graph.parameter(f"{layer}.bias"))
    gain, shift = graph.parameter(f"{layer}.gain"), graph.parameter(f"{layer}.shift")
    if kind == "layer":
        return graph.node("LayerNormalization", z, gain, shift, axis=1, epsilon=EPSILON)
    mean, variance = graph.parameter(f"{layer}.mean"), graph.parameter(f"{layer}.variance")
    return graph.node("BatchNormalization", z, gain, shift, mean, variance, epsilon=EPSILON)
