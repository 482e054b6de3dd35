"""Columns taken out of an array, and arrays put side by side."""

from deshpc.nn.tape import Operator


class Columns(Operator):
    """x (n, h) -> its columns begin .. end."""

    def __init__(self, begin, end):
        self._begin, self._end = begin, end

    def forward(self, tape, x):
        y = tape.array((len(x), self._end - self._begin), x.dtype)
        tape.arrays.put(x[:, self._begin : self._end], y)
        return y, None

    def backward(self, tape, saved, gradient, into):
        into.zero_if_fresh(tape)
        tape.arrays.put(gradient, into.array[:, self._begin : self._end], add=True)


class Beside(Operator):
    """(x (n, a), y (n, b)) -> (n, a + b)."""

    skips_unwanted = True

    def forward(self, tape, x, y):
        both = tape.array((len(x), x.shape[1] + y.shape[1]), x.dtype)
        tape.arrays.put(x, both[:, : x.shape[1]])
        tape.arrays.put(y, both[:, x.shape[1] :])
        return both, x.shape[1]

    def backward(self, tape, width, gradient, into_x, into_y):
        for into, part in ((into_x, gradient[:, :width]), (into_y, gradient[:, width:])):
            if into is not None:
                into.add(tape, part)
