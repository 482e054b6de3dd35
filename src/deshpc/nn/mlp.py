"""Stacks of dense layers."""

from deshpc.nn.dense import Activation, Completion, Dense
from deshpc.nn.dropout import Dropout
from deshpc.nn.normalisation import BatchNormalisation, LayerNormalisation


class MLP:
    """x -> layers of the widths `hidden`, each f(normalised x W + b), then dropout, in that order."""

    def __init__(self, backend, values, name, inputs, hidden, tower, seed):
        """tower : ModelConfig, of which activation, normalisation and dropout are taken"""
        self._backend, self._layers, normalise = backend, [], tower.normalisation
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

    @property
    def first_weights(self):
        """Name of the first layer's weights."""
        return self._layers[0].weights

    def __call__(self, tape, x):
        """The last layer's Node; a generator."""
        return self._rest(tape, x, self._layers)

    def complete(self, tape, product, inputs, first):
        """As `__call__`, from the sum of all ranks' `Product`s with the first layer's weights; a generator.

        inputs, first : the inputs that were in none of them, and the weights' row where these begin
        """
        dense = self._layers[0]
        x = tape.apply(Completion(self._backend, dense.weights, first, dense.bias, dense.activation), product, inputs)
        return self._rest(tape, x, self._layers[1:])

    def _rest(self, tape, x, layers):
        for layer in layers:
            x = yield from tape.apply_in_step(layer, x)
        return x
