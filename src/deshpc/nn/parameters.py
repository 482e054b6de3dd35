"""Dense parameters, replicated on every rank: one flat array with named views, beside gradients and state.

All arrays lie where the backend computes.
"""

import numpy as np

from deshpc.nn.parts import PARTS


class Parameters:
    """Named arrays inside one flat array of `dtype`, so that one fused exchange or update serves them all."""

    def __init__(self, backend, shapes, dtype, optimizer, sums=None):
        """shapes : {name: shape}, in order; everything starts at zero, optimizer state to fit.

        sums : type in which gradients are added up, if not `dtype`
        """
        sizes = {name: int(np.prod(shape, dtype=np.int64)) for name, shape in shapes.items()}
        total = sum(sizes.values())
        self._backend, self._optimizer, self._shapes, self._sizes = backend, optimizer, dict(shapes), sizes
        self.values, self.gradient = backend.zeros(total, dtype), backend.zeros(total, dtype)
        self.state = backend.zeros(optimizer.dense_state_start.planes * total, dtype)
        self._part_sums = {name: backend.zeros((PARTS, *shape), sums or dtype) for name, shape in shapes.items()}
        self._sums = backend.zeros(total, sums or dtype)
        self._views, self._gradients = self._split(self.values), self._split(self.gradient)
        self.begin_state()

    def __getitem__(self, name):
        """The parameter, a view."""
        return self._views[name]

    def set(self, name, host):
        """Give the parameter the numbers of a host array."""
        self._backend.set(self._views[name], host)

    def host(self, name):
        """A copy of the parameter in host memory."""
        return self._backend.host(self._views[name])

    def gradient_of(self, name):
        """The parameter's gradient, a view."""
        return self._gradients[name]

    def sums_of(self, name):
        """The sums (PARTS, ...) of the parameter's gradient over each part of the samples, to be added to; see `nn.parts`."""
        return self._part_sums[name]

    def take_sums(self):
        """The gradient's sums over all parts (n), added in order; the parts' sums become zero.  Valid until the next call."""
        begin = 0
        for name, sums in self._part_sums.items():
            end = begin + self._sizes[name]
            if end > begin:
                self._backend.update.sum_parts(sums, self._sums[begin:end])
            begin = end
        return self._sums

    def set_gradient(self, sums, inverse_scale):
        """Set the gradient from its sums (n) over all samples; inverse_scale : value of a 1 in fixed-point sums."""
        self._backend.update.set_numbers(sums, inverse_scale, self.gradient)

    def begin_state(self):
        """Start the optimizer state from the values: to be called when first values have been set.

        FTRL computes weights from its state, so a state that does not know them would undo them.
        """
        self._backend.set(self.state, self._optimizer.dense_state_start.of(self._backend.host(self.values)).ravel())

    def update(self, step, clip=1.0):
        """Apply the optimizer once, to `clip` times the gradient.  L1 and L2 do not apply to dense parameters."""
        zero = self.values.dtype.type(0)
        rule = self._optimizer.dense_rule(step, type(zero))
        self._backend.update.dense(rule, zero, self.values, self.state, self.gradient, type(zero)(clip))

    def square_norm(self):
        """Squared norm of the gradient, float64."""
        return self._backend.update.square_norm(self.gradient)

    def arrays(self):
        """{"values": ..., "state": ...}: what a saved model holds, copies in host memory."""
        return {"values": self._backend.host(self.values), "state": self._backend.host(self.state)}

    def load(self, arrays):
        """Take values and state as `arrays` gives them."""
        self._backend.set(self.values, arrays["values"])
        self._backend.set(self.state, arrays["state"])

    def names(self):
        """[(name, shape)] in the order in which they lie in the flat array."""
        return list(self._shapes.items())

    def _split(self, flat):
        views, begin = {}, 0
        for name, shape in self._shapes.items():
            views[name] = flat[begin : begin + self._sizes[name]].reshape(shape)
            begin += self._sizes[name]
        return views
