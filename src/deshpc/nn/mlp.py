"""Stacks of dense layers."""

from deshpc.nn.dense import Activation, Completion, Dense
from deshpc.nn.dropout import Dropout
from deshpc.nn.first_dense import FirstDense
from deshpc.nn.normalisation import BatchNormalisation, LayerNormalisation


class MLP:
    """x -> layers of the widths `hidden`, each f(normalised x W + b), then dropout, in that order."""

    def __init__(self, backend, values, name, inputs, hidden, tower, seed, n_dense=None):
        """tower : ModelConfig, of which activation, normalisation and dropout are taken
        n_dense : where the inputs are x_0, the number of dense features in it: the first layer is then a `FirstDense`
        """
        self._backend, self._layers, normalise = backend, [], tower.normalisation
        for i, width in enumerate(hidden):
            layer = f"{name}.{i}"
            activation, bias = (tower.activation, True) if normalise == "none" else ("identity", False)
            if i == 0 and n_dense is not None:
                self._layers.append(FirstDense(backend, values, layer, inputs, width, n_dense, activation, bias))
            else:
                self._layers.append(Dense(backend, values, layer, inputs, width, activation, bias))
            if normalise != "none":
                kind = BatchNormalisation if normalise == "batch" else LayerNormalisation
                self._layers.append(kind(values, layer, width))
                self._layers.append(Activation(backend, tower.activation))
            if tower.dropout:
                self._layers.append(Dropout(backend, seed, layer, tower.dropout))
            inputs = width
        self.outputs = inputs

    @property
    def first_layers(self):
        """[the first layer], where it is a `FirstDense`."""
        return [layer for layer in self._layers[:1] if isinstance(layer, FirstDense)]

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
