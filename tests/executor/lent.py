"""An array of the executor as libraries take it that know CUDA: MPI by its `__cuda_array_interface__`, NCCL by its address.

The address is one of the host's memory, so any MPI library moves what lies there.
"""

from executor.arrays import allocation_of, host_view
from executor.errors import ExecutorError


class Lent:
    """`array`, which the library may write to if it `writes`: then it counts as written.

    MPI knows no stream.  So an ExecutorError is raised if it is given an array with which something has been started that nobody
    has waited for.
    """

    def __init__(self, array, writes):
        self._array, self._writes, self.address = array, writes, host_view(array).ctypes.data
        if writes:
            allocation_of(array).mark_written(array)

    @property
    def __cuda_array_interface__(self):
        if not allocation_of(self._array).is_idle():
            raise ExecutorError(f"{self._array!r} is given to MPI while the device may be at work on it")
        dtype = self._array.dtype
        return {"shape": self._array.shape, "typestr": dtype.str, "data": (self.address, not self._writes), "strides": None, "version": 3}
