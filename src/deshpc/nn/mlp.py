"""Stacks of dense layers."""

from deshpc.nn.dense import Activation, Dense
from deshpc.nn.dropout import Dropout
from deshpc.nn.normalisation import BatchNormalisation, LayerNormalisation


class MLP:
    """x -> layers of the widths `hidden`, each f(normalised x W + b), then dropout, in that order."""

    def __init__(self, backend, values, name, inputs, hidden, tower, seed):
        """tower : ModelConfig, of which activation, normalisation and dropout are taken"""
        self._layers, normalise = [], tower.normalisation
        for i, width in enumerate(hidden):
            layer = f"{name}.{i}"
            if normalise == "none":
                self._layers.append(Dense(backend, values, layer, inputs, width, tower.activation))
            else:
                kind = BatchNormalisation if normalise == "batch" else LayerNormalisation
                self._layers.append(Dense(backend, values, layer, inputs, width, bias=False))
                self._layers.append(kind(values, layer, width))
                self._layers.append(Activation(backend, tower.activation))
            if tower.dropout:
                self._layers.append(Dropout(backend, seed, layer, tower.dropout))
            inputs = width
        self.outputs = inputs

    def __call__(self, tape, x):
        """The last layer's Node; a generator."""
        for layer in self._layers:
            x = yield from tape.apply_in_step(layer, x)
        return x
