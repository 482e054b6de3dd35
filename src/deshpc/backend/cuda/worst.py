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
        found = self._scratch.array("found", blocks, np.float64), self._scratch.array("places", blocks, np.int64)
        self._kernels.worst.blocks(blocks, numbers, n, *found)
        pairs = zip(*(self._device.to_host(one).tolist() for one in found), strict=True)
        return max(pairs, key=_order)


def _order(pair):
    """Of two NaN neither is the larger: the place alone decides."""
    number, place = pair
    return (True, 0.0, -place) if number != number else (False, number, -place)
