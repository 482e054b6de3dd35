"""Memory that exchanges take and give back.  Several may be under way, so each has its own."""


class Rooms:
    """make : function(bytes) -> array of uint8
    passed : function(point) -> whether the device has passed it; where memory is given back without a point, None
    """

    def __init__(self, make, passed=None):
        self._make, self._passed, self._free = make, passed, []

    def take(self, nbytes):
        """An array of uint8, of so many bytes at least: the smallest that fits, since a large one may be needed in the same step."""
        fitting = [
            place for place, (memory, point) in enumerate(self._free) if memory.nbytes >= nbytes and (point is None or self._passed(point))
        ]
        if not fitting:
            return self._make(nbytes + nbytes // 2)
        return self._free.pop(min(fitting, key=lambda place: self._free[place][0].nbytes))[0]

    def give(self, memory, point=None):
        """Memory of `take` may be used again: at once, or when the device has passed a point."""
        self._free.append((memory, point))


def part_of(memory, shape, dtype, nbytes):
    """The first bytes of memory of `take`, as an array."""
    return memory[:nbytes].view(dtype).reshape(shape)
