"""The largest of many numbers on a device, and where it stands."""

import numpy as np

from deshpc.backend.cuda.buffers import Buffers

_BLOCKS = 64


class Worst:
    """Finds the (number, place) of the largest float64, none below 0: the first of equals, the first NaN before all."""

    def __init__(self, kernels):
        self._kernels = kernels("loss.cu", COMPUTE="double", SUM="double", VALUES=0)
        self._device, self._scratch = kernels.device, Buffers(kernels.device)

    def __call__(self, numbers):
        """(0.0, 0) where there are none.  Reads the device, and waits for it."""
        n = numbers.size
        if n == 0:
            return 0.0, 0
        blocks = min(_BLOCKS, -(-n // self._kernels.worst.threads))
        found = self._scratch.array("found", (2, blocks), np.int64)  # numbers and places, in one array that is read at once
        self._kernels.worst.blocks(blocks, numbers, n, found[:1].view(np.float64), found[1:])
        largest, places = self._device.to_host(found)
        return max(zip(largest.view(np.float64).tolist(), places.tolist(), strict=True), key=_order)


def _order(pair):
    """Of two NaN neither is the larger: the place alone decides."""
    number, place = pair
    return (True, 0.0, -place) if number != number else (False, number, -place)
