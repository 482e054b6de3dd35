"""Dense parameters, replicated on every rank: one flat array with named views, beside gradients and state."""

import numpy as np


class Parameters:
    """Named arrays inside one flat array of `dtype`, so that one fused exchange or update serves them all."""

    def __init__(self, shapes, dtype, optimizer):
        """shapes : {name: shape}, in order; everything starts at zero, optimizer state at its own start."""
        sizes = {name: int(np.prod(shape, dtype=np.int64)) for name, shape in shapes.items()}
        total = sum(sizes.values())
        self._optimizer, self._shapes, self._sizes = optimizer, dict(shapes), sizes
        self.values, self.gradient = np.zeros(total, dtype), np.zeros(total, dtype)
        self.state = np.full(optimizer.state_numbers(total), optimizer.state_start, dtype)
        self._views, self._gradients = self._split(self.values), self._split(self.gradient)

    def __getitem__(self, name):
        """The parameter, a view."""
        return self._views[name]

    def gradient_of(self, name):
        """The parameter's gradient, a view to be filled before `update`."""
        return self._gradients[name]

    def update(self):
        """Apply the optimizer once."""
        self._optimizer.update_dense(self.values, self.state, self.gradient)

    def arrays(self):
        """{"values": ..., "state": ...}: what a saved model holds."""
        return {"values": self.values, "state": self.state}

    def names(self):
        """[(name, shape)] in the order in which they lie in the flat array."""
        return list(self._shapes.items())

    def _split(self, flat):
        views, begin = {}, 0
        for name, shape in self._shapes.items():
            views[name] = flat[begin : begin + self._sizes[name]].reshape(shape)
            begin += self._sizes[name]
        return views
