"""MPI with one rank, for machines that have mpi4py but no MPI library: what `comm.group` calls, as copies.

    import gpu_one_rank; gpu_one_rank.stand_in()      or      pytest -p gpu_one_rank

Does nothing where mpi4py finds its library.  Anything else that is asked of it is an AttributeError.
"""

import sys
import types


class _Done:
    """A request that is complete."""

    def Test(self):
        return True

    def Wait(self):
        return None


class OneRank:
    """A communicator of this process alone."""

    rank, size = 0, 1

    def Dup(self):
        return OneRank()

    def Free(self):
        pass

    def Split_type(self, kind, *_):
        return OneRank()

    def Barrier(self):
        pass

    def Abort(self, code=1):
        sys.stderr.flush()
        raise SystemExit(code)

    def Get_rank(self):
        return 0

    def Get_size(self):
        return 1

    def bcast(self, thing, root=0):
        return thing

    def gather(self, thing, root=0):
        return [thing]

    def allgather(self, thing):
        return [thing]

    def allreduce(self, thing, operation=None):
        return thing

    def Allreduce(self, send, receive, operation=None):
        if send is not IN_PLACE:
            receive[...] = send

    def Iallreduce(self, send, receive, operation=None):
        self.Allreduce(send, receive)
        return _Done()

    def Iallgather(self, send, receive):
        receive.reshape(-1)[...] = send.reshape(-1)
        return _Done()

    def Ialltoall(self, send, receive):
        receive[...] = send
        return _Done()

    def Iallgatherv(self, send, receive):
        self._copy(send, receive[0], int(receive[1][0][0]))
        return _Done()

    def Ialltoallv(self, send, receive):
        self._copy(send[0], receive[0], int(receive[1][0][0]))
        return _Done()

    def _copy(self, send, receive, count):
        receive.reshape(-1)[:count] = send.reshape(-1)[:count]


IN_PLACE = object()


def stand_in():
    """Put this in the place of mpi4py.MPI where that cannot be loaded; returns what MPI it is now."""
    try:
        from mpi4py import MPI

        return MPI.Get_library_version().split(",")[0].strip()
    except (ImportError, RuntimeError):  # mpi4py's wheel raises RuntimeError where it finds no library
        pass
    module = types.ModuleType("mpi4py.MPI")
    module.COMM_WORLD, module.COMM_SELF, module.IN_PLACE, module.COMM_TYPE_SHARED = OneRank(), OneRank(), IN_PLACE, 1
    module.SUM = module.MAX = module.MIN = None
    module.Comm = module.Intracomm = OneRank
    package = sys.modules.get("mpi4py")
    if package is None:
        package = sys.modules["mpi4py"] = types.ModuleType("mpi4py")
        package.__path__ = []
    package.MPI = sys.modules["mpi4py.MPI"] = module
    return "none: one rank, stand-in"


def pytest_configure(config):
    stand_in()
