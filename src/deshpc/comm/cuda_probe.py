"""The process that `cuda_support.probe` starts: what it finds goes to standard output, a line each, as long as it lives.

    python -m deshpc.comm.cuda_probe [NUMBER OF A DEVICE]
"""

import json
import sys

_SIZES = (8, 1 << 20)  # bytes: libraries send small messages in another way than large ones


def main(arguments):
    from mpi4py import MPI

    from deshpc.comm.cuda_support import asked

    found = asked()
    _say(**found._asdict())
    if arguments and found.works is not False:
        _say(sent=arrives(MPI.COMM_SELF, *_on_device(int(arguments[0]))))


def arrives(comm, put, read):
    """Whether arrays that this rank sends to itself arrive as they were.

    put : function(NumPy array) -> an array of the device with these contents
    read : function(array of the device) -> a NumPy array
    """
    import numpy as np

    for size in _SIZES:
        numbers = np.arange(size, dtype=np.uint8)
        sent, received = put(numbers), put(np.zeros_like(numbers))
        comm.Alltoall(sent, received)
        comm.Sendrecv(sent, 0, recvbuf=received, source=0)
        if not np.array_equal(read(received), numbers) or not np.array_equal(read(sent), numbers):
            return False
    return True


def _on_device(number):
    import cupy

    device = cupy.cuda.Device(number)
    device.use()

    def put(numbers):
        array = cupy.asarray(numbers)
        device.synchronize()
        return array

    return put, cupy.asnumpy


def _say(**found):
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
