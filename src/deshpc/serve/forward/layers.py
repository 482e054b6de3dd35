"""Dense layers in NumPy float64."""

import numpy as np

from deshpc.backend.links import sigmoid

EPSILON = 1e-5
"""Added to the variance by normalisations, in the graphs too."""


def network(top, name, x, widths):
    """x (n, inputs) through the layers NAME.0, NAME.1, ... of these widths: each f(normalised x W + b).  No dropout."""
    activate = activated(top)
    for i in range(len(widths)):
        layer = f"{name}.{i}"
        x = activate(_normalised(top, layer, x @ top.parameters[f"{layer}.weights"]))
    return x


def activated(top):
    """f of hidden layers, a function of an array."""
    return _ACTIVATIONS[top.options["activation"]]


def network_shapes(top, name, inputs, widths):
    """(name, shape) of the parameters of `network`."""
    parts = {"none": ("bias",), "layer": ("gain", "shift"), "batch": ("gain", "shift", "mean", "variance")}[top.options["normalisation"]]
    for i, width in enumerate(widths):
        yield f"{name}.{i}.weights", (inputs, width)
        for part in parts:
            yield f"{name}.{i}.{part}", (width,)
        inputs = width


def outputs(inputs, widths):
    """Numbers that come out of `network`."""
    return widths[-1] if widths else inputs


def product(top, name, x):
    """x . w (n), of the weights (inputs, 1) of a layer of one unit without bias."""
    return x @ top.parameters[f"{name}.weights"][:, 0]


def joined(*arrays):
    """Side by side (n, ...): of E and dense, x_0."""
    return np.concatenate(arrays, axis=1)


def _normalised(top, layer, z):
    """z and bias, or z normalised over its units or by running statistics, with gain and shift."""
    parameters, kind = top.parameters, top.options["normalisation"]
    if kind == "none":
        return z + parameters[f"{layer}.bias"]
    if kind == "layer":
        mean, variance = z.mean(axis=1, keepdims=True), z.var(axis=1, keepdims=True)
    else:
        mean, variance = parameters[f"{layer}.mean"], parameters[f"{layer}.variance"]
    return parameters[f"{layer}.gain"] * (z - mean) / np.sqrt(variance + EPSILON) + parameters[f"{layer}.shift"]


_ACTIVATIONS = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh, "sigmoid": sigmoid}
