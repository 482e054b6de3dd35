"""Stacks of dense layers."""

from deshpc.nn.dense import Activation, Completion, Dense
from deshpc.nn.dropout import Dropout
from deshpc.nn.first_dense import FirstDense
from deshpc.nn.normalisation import BatchNormalisation, LayerNormalisation


class MLP:
    """x -> layers of the widths `hidden`, each f(normalised x W + b), then dropout, in that order."""

    def __init__(self, backend, values, name, inputs, hidden, tower, seed, n_dense=None, out=False):
        """tower : ModelConfig, of which activation, normalisation and dropout are taken
        n_dense : where the inputs are x_0, the number of dense features in it: the first layer is then a `FirstDense`
        out : whether NAME.out, a layer of one unit without bias or activation, follows; where `hidden` is empty it is the first
        """
        self._backend, self._layers, normalise = backend, [], tower.normalisation

        def dense(layer, outputs, activation="identity", bias=True):
            first = () if self._layers or n_dense is None else (n_dense,)
            kind = FirstDense if first else Dense
            self._layers.append(kind(backend, values, layer, inputs, outputs, *first, activation, bias))

        for i, width in enumerate(hidden):
            layer = f"{name}.{i}"
            activation, bias = (tower.activation, True) if normalise == "none" else ("identity", False)
            dense(layer, width, activation, bias)
            if normalise != "none":
                kind = BatchNormalisation if normalise == "batch" else LayerNormalisation
                self._layers.append(kind(backend, values, layer, width))
                self._layers.append(Activation(backend, tower.activation))
            if tower.dropout:
                self._layers.append(Dropout(backend, seed, layer, tower.dropout))
            inputs = width
        if out:
            dense(f"{name}.out", 1, bias=False)
        self.outputs = 1 if out else inputs

    @property
    def first_layers(self):
        """[the first layer], where it is a `FirstDense`."""
        return [layer for layer in self._layers[:1] if isinstance(layer, FirstDense)]

    @property
    def first_weights(self):
        """Name of the first layer's weights."""
        return self._layers[0].weights

    @property
    def first_outputs(self):
        """Units of the first layer."""
        return self._layers[0].outputs

    def __call__(self, tape, x):
        """The last layer's Node; a generator."""
        return self._rest(tape, x, self._layers)

    def complete(self, tape, product, inputs, begin):
        """As `__call__`, from the sum of all ranks' `Product`s with the first layer's weights; a generator.

        inputs, begin : the inputs that were in none of them, and the weights' row where these begin
        """
        dense = self._layers[0]
        x = tape.apply(Completion(self._backend, dense.weights, begin, dense.bias, dense.activation), product, inputs)
        return self._rest(tape, x, self._layers[1:])

    def _rest(self, tape, x, layers):
        for layer in layers:
            x = yield from tape.apply_in_step(layer, x)
        return x
