"""One byte of a text inside a kernel."""

import numpy as np

from deshpc.jit import kernel


@kernel(inline=True)
def byte(data, i):
    """data[i] for i >= 0.  An unsigned index needs no test for a negative one, which costs a scan a third of its time.

    data : (any) uint8;  i : int64  ->  uint8
    """
    return data[np.uint64(i)]
