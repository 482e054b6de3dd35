"""Dense layers: y = f(x W + b), with f applied in place, so that nothing but matrix products passes over memory twice."""

from deshpc.nn.tape import Operator

ACTIVATIONS = ("identity", "relu", "tanh", "sigmoid")
"""f of a layer; a kernel takes its place in this list.  All have derivatives that follow from f's value."""


class Activation(Operator):
    """x (n, h) -> f(x)."""

    def __init__(self, backend, activation):
        self._kernels, self._activation = backend.dense, ACTIVATIONS.index(activation)

    def forward(self, tape, x):
        y, no_bias = tape.array(x.shape, x.dtype), tape.scratch.array("bias", x.shape[1], x.dtype)
        tape.arrays.put(x, y)
        tape.arrays.fill(no_bias, 0)
        self._kernels.bias_activation(y, no_bias, self._activation)
        return y, y

    def backward(self, tape, y, gradient, into):
        unused = tape.scratch.array("bias", y.shape[1], y.dtype)
        self._kernels.activation_adjoint(gradient, y, self._activation, unused)
        into.add(tape, gradient)


class Product(Operator):
    """x (n, rows) -> x W[rows] (n, outputs): a layer's product with those inputs that are here, before bias and activation."""

    learns, skips_unwanted = True, True

    def __init__(self, weights, rows):
        """weights : name of the parameter
        rows : slice or numbers of its rows that x has the inputs of"""
        self._weights, self._rows = weights, rows

    def forward(self, tape, x):
        weights = tape.parameters[self._weights][self._rows]
        y = tape.array((len(x), weights.shape[1]), weights.dtype)
        tape.products.multiply_rows(x, weights, y)
        return y, (x, weights)

    def backward(self, tape, saved, gradient, into):
        x, weights = saved
        tape.add_product(self._weights, x, gradient, self._rows)
        if into is not None:
            into.add_product(tape, gradient, weights)


class Completion(Operator):
    """(sum of the `Product`s of all ranks (n, outputs), the remaining inputs) -> f(sum + inputs W[begin:] + b)."""

    learns = True

    def __init__(self, backend, weights, begin, bias=None, activation="identity"):
        """weights, bias : names of parameters
        begin : row of `weights` where those of the remaining inputs begin"""
        self._kernels, self._activation = backend.dense, ACTIVATIONS.index(activation)
        self._weights, self._rows, self._bias = weights, slice(begin, None), bias

    def forward(self, tape, product, inputs):
        y = tape.array(product.shape, product.dtype)
        tape.arrays.put(product, y)
        tape.products.multiply_rows(inputs, tape.parameters[self._weights][self._rows], y, add=True)
        if self._bias is not None:
            self._kernels.bias_activation(y, tape.parameters[self._bias], self._activation)
        return y, (inputs, y)

    def backward(self, tape, saved, gradient, into, _):
        inputs, y = saved
        if self._bias is not None:
            tape.add(self._bias, lambda out: self._kernels.activation_adjoint(gradient, y, self._activation, out))
        tape.add_product(self._weights, inputs, gradient, self._rows)
        into.add(tape, gradient)


class Dense(Operator):
    """x (n, inputs) -> f(x W + b) (n, outputs).

    saved : x and y.  dz = dy f'(z);  dW = x^T dz, db = sum dz, dx = dz W^T.
    """

    learns, skips_unwanted = True, True

    def __init__(self, backend, values, name, inputs, outputs, activation="identity", bias=True, bound=None):
        """bound : weights start uniform in +-bound, None for `FirstValues.dense`"""
        self._kernels, self._activation = backend.dense, ACTIVATIONS.index(activation)
        weights = f"{name}.weights"
        if bound is None:
            self.weights = values.dense(weights, inputs, outputs)
        else:
            self.weights = values.uniform(weights, bound, inputs, outputs)
        self.bias = values.zeros(f"{name}.bias", outputs) if bias else None
        self.outputs, self.activation = outputs, activation

    def forward(self, tape, x):
        weights = tape.parameters[self.weights]
        y = tape.array((len(x), self.outputs), weights.dtype)
        tape.products.multiply_rows(x, weights, y)
        if self.bias is not None:
            self._kernels.bias_activation(y, tape.parameters[self.bias], self._activation)
        return y, (x, y)

    def backward(self, tape, saved, gradient, into):
        x, y = saved

        def of_bias(out):
            self._kernels.activation_adjoint(gradient, y, self._activation, out)

        if self.bias is not None:
            tape.add(self.bias, of_bias)
        tape.add_product(self.weights, x, gradient)
        if into is not None:
            into.add_product(tape, gradient, tape.parameters[self.weights])
