"""A stand-in for `cupy.cuda.nccl`, with CuPy's signatures: what is sent goes over MPI, from and to addresses of the host's memory.

It writes down every call, and refuses what NCCL would hang at or spoil: a send or receive outside a group, groups that do not match, a
message of another length than is received, another stream than the device's, ranks with different ids.
"""

import ctypes
from types import SimpleNamespace

import numpy as np

_ID_BYTES = 128


class NcclError(RuntimeError):
    pass


class NcclStandIn:
    """The module.  comm : of the ranks; it is duplicated; collective.  stream : the only one that calls may name

    calls : [(name, details ...)], in order
    failing : what the next look at errors raises, or None
    """

    available, NcclError = True, NcclError
    NCCL_UINT8, NCCL_INT64, NCCL_SUM = 1, 4, 0

    def __init__(self, comm, stream):
        self.comm, self.stream, self.calls, self.failing, self._group = comm.Dup(), stream, [], None, None

    def get_unique_id(self):
        self.calls.append(("get_unique_id",))
        return np.random.default_rng().bytes(_ID_BYTES)

    def NcclCommunicator(self, ndev, commId, rank):
        self.calls.append(("NcclCommunicator", ndev, rank))
        assert isinstance(commId, bytes) and len(commId) == _ID_BYTES and len(set(self.comm.allgather(commId))) == 1
        assert (ndev, rank) == (self.comm.size, self.comm.rank)
        return _Communicator(self)

    def groupStart(self):
        self.calls.append(("groupStart",))
        assert self._group is None
        self._group = []

    def groupEnd(self):
        self.calls.append(("groupEnd",))
        requests, self._group = [start() for start in self._group], None
        for request, nbytes in requests:
            status = _status()
            request.Wait(status)
            assert nbytes is None or status.Get_count() == nbytes

    def in_group(self, start):
        assert self._group is not None, "alone, it waits for its peer for ever"
        self._group.append(start)


def _status():
    from mpi4py import MPI

    return MPI.Status()


class _Communicator:
    """One rank's."""

    def __init__(self, module):
        self._module = module

    def check_async_error(self):
        if self._module.failing is not None:
            raise NcclError(self._module.failing)

    def send(self, sendbuf, count, datatype, peer, stream):
        self._given("send", count, datatype, peer, stream)
        module = self._module
        module.in_group(lambda: (module.comm.Isend(_memory(sendbuf, count), peer), None))

    def recv(self, recvbuf, count, datatype, peer, stream):
        self._given("recv", count, datatype, peer, stream)
        module = self._module
        module.in_group(lambda: (module.comm.Irecv(_memory(recvbuf, count), peer), count))

    def allReduce(self, sendbuf, recvbuf, count, datatype, op, stream):
        module = self._module
        module.calls.append(("allReduce", count, datatype, op, stream))
        assert (datatype, op, stream) == (module.NCCL_INT64, module.NCCL_SUM, module.stream)
        own = _memory(sendbuf, 8 * count).view(np.int64).copy()
        module.comm.Allreduce(own, _memory(recvbuf, 8 * count).view(np.int64))

    def destroy(self):
        self._module.calls.append(("destroy",))

    def _given(self, name, count, datatype, peer, stream):
        module = self._module
        module.calls.append((name, count, datatype, peer, stream))
        assert datatype == module.NCCL_UINT8 and stream == module.stream
        assert count > 0 and 0 <= peer < module.comm.size and peer != module.comm.rank


def _memory(address, nbytes):
    return np.frombuffer((ctypes.c_char * max(nbytes, 1)).from_address(address), np.uint8, nbytes)


def signatures():
    """Objects whose methods are to have CuPy's signatures."""
    return SimpleNamespace(NcclCommunicator=_Communicator)
