"""Sums of the gradients of a tower's parameters: one flat array a slot, each written by one thread."""

import numpy as np


class SlotSums:
    """`slots` flat arrays of the parameters' layout, of which those that have been written to are added up in order."""

    def __init__(self, backend, shapes, dtype, slots):
        """shapes : {name: shape}, in order."""
        ends = np.cumsum([0, *(int(np.prod(shape, dtype=np.int64)) for shape in shapes.values())])
        self._backend, self._slots = backend, [None] * slots
        self._places = {name: (int(a), int(b), shape) for (name, shape), a, b in zip(shapes.items(), ends, ends[1:], strict=False)}
        self.size, self._dtype = int(ends[-1]), dtype
        self._written = [set() for _ in range(slots)]

    def of(self, slot, name):
        """(sums of a parameter in a slot, whether they are to be written instead of added to)."""
        if self._slots[slot] is None:  # memory for as many slots as are used
            self._slots[slot] = self._backend.zeros(self.size, self._dtype)
        begin, end, shape = self._places[name]
        written = self._written[slot]
        fresh = name not in written
        written.add(name)
        return self._slots[slot][begin:end].reshape(shape), fresh

    def close(self):
        """Zeros where nobody wrote to: to be called before `largest` and `take`."""
        for flat, written in self._used():
            for name, (a, b, _) in self._places.items():
                if name not in written:
                    self._backend.arrays.fill(flat[a:b], 0)
                    written.add(name)

    def largest(self):
        """The largest |sum| of any slot; NaN if there is one.  A device is waited for."""
        used = [(flat,) for flat, _ in self._used()]
        numbers = self._backend.each(self._backend.update.largest, used) if used else [0.0]
        return max(numbers, key=lambda number: (number != number, number))

    def take(self, total, begin, end, scale):
        """total[begin:end] = the numbers begin .. end of all slots, added in order; int64: each slot's times scale and rounded before."""
        part, used = total[begin:end], self._used()
        rounded = part.dtype.kind == "i"
        if rounded or not used:
            part.fill(0)
        for i, (flat, _) in enumerate(used):
            if rounded:
                self._backend.update.add_rounded(flat[begin:end], scale, part)
            else:
                self._backend.arrays.put(flat[begin:end], part, add=i > 0)

    def _used(self):
        return [(flat, written) for flat, written in zip(self._slots, self._written, strict=True) if written]

    def clear(self):
        """Begin anew."""
        for written in self._written:
            written.clear()
