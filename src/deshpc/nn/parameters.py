"""Dense parameters, replicated on every rank: one flat array with named views, beside gradients and state.

All arrays lie where the backend computes.
"""

import numpy as np

from deshpc.nn.parts import PARTS

_VECTOR = 64  # parameters


class Parameters:
    """Named arrays inside one flat array of `dtype`, so that one fused exchange or update serves them all."""

    def __init__(self, backend, shapes, dtype, optimizer, sums=None, slots=None, statistics=(), owner_slots=None):
        """shapes : {name: shape}, in order; everything starts at zero, optimizer state to fit.

        sums : type in which gradients are added up, if not `dtype`
        slots : a `SlotSums` of the same shapes, for a tower; otherwise sums are kept by parts of the batch
        owner_slots : a `SlotSums` of some of `shapes`, to which owners of rows add up gradients from their own rows
        statistics : {name: first value} of what is stored beside the parameters, but is none
        """
        sizes = {name: int(np.prod(shape, dtype=np.int64)) for name, shape in shapes.items()}
        total = sum(sizes.values())
        statistics = dict(statistics)
        self._backend, self._optimizer, self._slots, self._owner_slots = backend, optimizer, slots, owner_slots
        self._owner_sums = backend.zeros(owner_slots.size, dtype) if owner_slots else None
        self._shapes = {**shapes, **{name: one.shape for name, one in statistics.items()}}
        self._sizes = {**sizes, **{name: one.size for name, one in statistics.items()}}
        self.values, self.gradient = backend.zeros(sum(self._sizes.values()), dtype), backend.zeros(total, dtype)
        self.state = backend.zeros(optimizer.dense_state_start.planes * total, dtype)
        self._part_sums = {} if slots else {name: backend.zeros((PARTS, *shape), sums or dtype) for name, shape in shapes.items()}
        self._sums = backend.zeros(total, sums or dtype)
        self._lanes = backend.lanes(backend.update.LANES, dtype, dtype) if slots else None
        self._views, self._gradients = self._split(self.values), self._split(self.gradient)
        for name, first in statistics.items():
            self.set(name, first)
        self._ranges = self._ranges_of_threads()
        self.begin_state()

    @property
    def matrices(self):
        """{name: numbers} of the parameters that samples are multiplied by: those of two dimensions or more."""
        return {name: self._sizes[name] for name, shape in self._shapes.items() if len(shape) > 1}

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

    def place(self, name):
        """(begin, end) of the parameter in the flat arrays."""
        names = list(self._sizes)
        begin = sum(self._sizes[one] for one in names[: names.index(name)])
        return begin, begin + self._sizes[name]

    def sums_of(self, name):
        """The sums (PARTS, ...) of the parameter's gradient over each part of the samples, to be added to; see `nn.parts`."""
        return self._part_sums[name]

    def close_slots(self):
        """No slot is written to any more.  Returns the largest |sum| of any, where sums are integers, else 0."""
        self._slots.close()
        return self._slots.largest() if self._sums.dtype.kind == "i" else 0.0

    def add_slots(self, scale):
        """Add up the slots, which are closed, for `take_sums`.  scale : of the sums, if they are integers"""
        self._backend.each(self._slots.take, [(self._sums, a, b, scale) for a, b in self._ranges])
        self._slots.clear()

    def take_sums(self):
        """The gradient's sums (n): of all slots, or over all parts, added in order, which become zero.  Valid until the next call."""
        if self._slots:
            return self._sums
        begin = 0
        for name, sums in self._part_sums.items():
            end = begin + self._sizes[name]
            if end > begin:
                self._backend.update.sum_parts(sums, self._sums[begin:end])
            begin = end
        return self._sums

    def take_owner_sums(self):
        """The sums that owners have added up at this rank, flat, in the order of `owner_slots`.  Valid until the next call."""
        self._owner_slots.close()
        self._owner_slots.take(self._owner_sums, 0, len(self._owner_sums), 1.0)
        self._owner_slots.clear()
        return self._owner_sums

    def add_to(self, sums, names, addends):
        """Add the sums of some parameters, one after the other in `addends`, to those of all (n), which are returned."""
        begin = 0
        for a, b in map(self.place, names):
            self._backend.arrays.put(addends[begin : begin + b - a], sums[a:b], add=True)
            begin += b - a
        return sums

    def set_gradient(self, sums, inverse_scale):
        """Set the gradient from its sums (n) over all samples; inverse_scale : value of a 1 in fixed-point sums."""
        self._backend.update.set_numbers(sums, inverse_scale, self.gradient)

    def begin_state(self):
        """Start the optimizer state from the values: to be called when first values have been set.

        FTRL computes weights from its state, so a state that does not know them would undo them.
        """
        learnt = self._backend.host(self.values)[: len(self.gradient)]
        self._backend.set(self.state, self._optimizer.dense_state_start.of(learnt).ravel())

    def update(self, step, clip=1.0):
        """Apply the optimizer once, to `clip` times the gradient.  L1 and L2 do not apply to dense parameters."""
        zero = self.values.dtype.type(0)
        rule = self._optimizer.dense_rule(step, type(zero))
        arguments = rule, self._lanes, zero, self.values, self.state, self.gradient, type(zero)(clip)
        self._backend.each(self._backend.update.dense, [(*arguments, a, b) for a, b in self._ranges])

    def _ranges_of_threads(self):
        """(begin, end) of the parameters that each thread works on: whole vectors, so that the bits are the same for any number."""
        vectors, threads = -(-len(self.gradient) // _VECTOR), self._backend.threads
        edges = [min(len(self.gradient), vectors * t // threads * _VECTOR) for t in range(threads + 1)]
        return list(zip(edges, edges[1:], strict=False))

    def square_norm(self, begin=0, end=None):
        """Squared norm of the gradient, or of the numbers begin .. end of it, float64."""
        return self._backend.update.square_norm(self.gradient[begin:end])

    def arrays(self):
        """{"values": ..., "state": ...}: what a saved model holds, copies in host memory."""
        return {"values": self._backend.host(self.values), "state": self._backend.host(self.state)}

    def load(self, arrays):
        """Take values and state as `arrays` gives them; ValueError where these have other types or lengths."""
        for name, own in (("values", self.values), ("state", self.state)):
            if arrays[name].dtype != own.dtype or arrays[name].shape != own.shape:
                raise ValueError(
                    f"{name} are {arrays[name].shape} numbers of {arrays[name].dtype}; expected {own.shape} of {own.dtype}"
                )
        self._backend.set(self.values, arrays["values"])
        self._backend.set(self.state, arrays["state"])

    def names(self):
        """[(name, shape)] in the order in which they lie in the flat array."""
        return list(self._shapes.items())

    @property
    def statistics(self):
        """{name: shape} of what is stored beside the parameters, but is none."""
        return {name: shape for name, shape in self._shapes.items() if name not in self._gradients}

    def _split(self, flat):
        views, begin = {}, 0
        for name, shape in self._shapes.items():
            if begin + self._sizes[name] > len(flat):
                break  # statistics have no gradient
            views[name] = flat[begin : begin + self._sizes[name]].reshape(shape)
            begin += self._sizes[name]
        return views
