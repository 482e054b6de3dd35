"""An array whose final length is not known at its start."""

import numpy as np

_FIRST_LENGTH = 1 << 16


class GrowingArray:
    """A one-dimensional array that grows at its end, by doubling.

    Room beyond the end is never touched, so that it takes no memory.
    """

    def __init__(self, dtype):
        self._room = np.empty(_FIRST_LENGTH, dtype)
        self._length = 0

    def extend(self, length):
        """Make the array longer; a view of its new end, to be filled before it grows again."""
        start, self._length = self._length, self._length + length
        if self._length > len(self._room):
            old = self._room
            self._room = np.empty(max(2 * len(old), self._length), old.dtype)
            self._room[:start] = old[:start]
        return self._room[start : self._length]

    def shorten(self, length):
        """Give up the last `length` elements."""
        self._length -= length

    def array(self):
        """What it holds so far, as a view."""
        return self._room[: self._length]
