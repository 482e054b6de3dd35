"""A few counts of a device, of which the host knows a bound: a step waits for nothing while there is room by it."""

import numpy as np


class Counts:
    """Counts (n) int64 in `array`, on the device; some of them bound how much more there is room for, which a subclass knows.

    What is asked for by a number reads the device and waits for it, unless nothing has changed.

    _known : what they were some time ago, _new: what may have been added since, and _lowered: whether something has gone
    _arriving : the mark that says when newer ones are in _memory, and what was noted until then; or None
    """

    def __init__(self, device, count):
        self._device, self.array = device, device.zeros((count,), np.int64)
        self._known, self._new, self._lowered, self._arriving = np.zeros(count, np.int64), 0, False, None
        self._memory = device.host_memory((count,), np.int64)

    def __getitem__(self, which):
        if self._new or self._lowered:
            self.take(self._device.to_host(self.array))
        return int(self._known[which])

    def __setitem__(self, which, numbers):
        self[0]  # exact before one of them changes
        self._known[which], self._arriving = numbers, None
        self._device.to_device(self._known, self.array)

    def take(self, numbers):
        """What they are behind all that has been started, as somebody has read it."""
        self._known[:], self._new, self._lowered, self._arriving = numbers, 0, False, None

    def have_room(self, more, limits):
        """Whether there is surely room for so many more, as far as the host knows."""
        if self._arriving and self._device.passed(self._arriving[0]):
            self._known, self._new = self._memory.copy(), self._new - self._arriving[1]
            self._arriving = None
        return self._fits(self._new + more, limits)

    def fit(self, more, limits):
        """Whether there is room for so many more.  Reads the device, and waits for it, if that is in doubt."""
        if not self._fits(self._new + more, limits):
            self[0]
        return self._fits(self._new + more, limits)

    def note(self, more):
        """Something is being started that adds up to so many."""
        self._new += more

    def lower(self):
        """Something is being started after which there is more room: what the host knows stays a bound, and is not exact."""
        self._lowered = True

    def fetch(self):
        """Have what they are after all that has been started come to the host: nothing waits for it."""
        if self._arriving is None:
            self._device.start_into_host(self.array, self._memory)
            self._arriving = self._device.mark(), self._new

    def _fits(self, more, limits):
        """Whether there is room for so many more than are known."""
        raise NotImplementedError
