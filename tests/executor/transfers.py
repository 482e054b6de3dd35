"""Transfers that do not wait: the host must leave the memory that they read alone until the device has passed them.

Here a transfer is made at once, so that it is never late; instead the memory is compared with what was sent, when the
host waits.  Memory that is filled again too early is thus found, always.  Memory that `host_memory` has not given may change
at once, as the contract of `to_device` says: it is copied to pinned memory first.
"""

import numpy as np

from executor.errors import ExecutorError


class Transfers:
    def __init__(self):
        self._memory = []  # what host_memory gave: (address, end, array)
        self._under_way = []  # (number, the host's array, what was sent)
        self._arriving = []  # (number, the host's array, what is to come)
        self._aside = []  # copies beside the stream, which are behind it, each with the point that it is known by
        self._number = self._passed = 0

    def host_memory(self, shape, dtype):
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        array = np.full(nbytes, 0xCB, np.uint8).view(dtype).reshape(shape)
        begin = array.ctypes.data
        self._memory.append((begin, begin + array.nbytes, array))
        return array

    def gave(self, host):
        """Whether an array lies in memory of `host_memory`."""
        return any(begin <= host.ctypes.data < end for begin, end, _ in self._memory)

    def sent(self, host):
        """`host` has been given to the device."""
        self._number += 1
        if self.gave(host):
            self._under_way.append((self._number, host, host.copy()))

    def comes(self, host, content):
        """`host` is to have this content, which nobody may count on before the device has passed."""
        self._number += 1
        host.view(np.uint8).fill(0xCB)
        self._arriving.append((self._number, host, content))

    def comes_aside(self, host, array, keeps):
        """As `comes`, with the content of `array` (a NumPy view of the device's memory), beside the stream: the point to wait for.

        keeps : what holds that memory
        """
        self._number += 1
        host.view(np.uint8).fill(0xCB)
        self._aside.append(_Aside(self._number, host, array, keeps))
        return self._aside[-1]

    def started(self):
        """Something has been given to the device that is no transfer; its number."""
        self._number += 1
        return self._number

    def mark(self):
        return self._number

    def has_passed(self, number):
        """As slow as a device may be: only what has been waited for has passed."""
        return number.arrived if isinstance(number, _Aside) else number <= self._passed

    def passed(self, number):
        """The device has passed all transfers up to this number: ExecutorError if one has read what was changed since."""
        if isinstance(number, _Aside):
            self.passed(number.after)
            while not number.arrived:
                self._aside.pop(0).arrive()
            return
        self._passed = max(self._passed, number)
        for arrived, host, content in self._arriving:
            if arrived <= number:
                host[...] = content
        self._arriving = [one for one in self._arriving if one[0] > number]
        passed = [one for one in self._under_way if one[0] <= number]
        self._under_way = [one for one in self._under_way if one[0] > number]
        for _, host, copy in passed:
            if host.tobytes() != copy.tobytes():
                raise ExecutorError(f"host memory of {host.dtype}{list(host.shape)} was changed before the device had read it")


class _Aside:
    """A copy beside the stream, after number `after` of it: as late as it may be, so that what is written to the array meanwhile shows."""

    def __init__(self, after, host, array, keeps):
        self.after, self.arrived, self._keeps = after, False, keeps
        self._host, self._array, self._content = host, array, array.copy()

    def arrive(self):
        if self._array.tobytes() != self._content.tobytes():
            what = f"{self._array.dtype}{list(self._array.shape)}"
            raise ExecutorError(f"an array {what} was written to before its copy to the host had been made")
        self._host[...] = self._content
        self.arrived = True
