"""Which kernels a run calls for the first time after it has warmed up: each would be compiled there, or loaded, in the middle of its work."""

from contextlib import contextmanager
from unittest import mock

from numba.core.dispatcher import Dispatcher

from deshpc.launch.watchdog import Watchdog
from deshpc.training import session


@contextmanager
def late_kernels():
    """Give a list of (kernel, types, stage), which grows while the runs of a block train.  In the main thread and in those of a backend."""
    late, stage, warm = [], [""], [False]
    warm_up, enter, compile_one = session.warm_up, Watchdog.enter, Dispatcher.compile

    def warmed(*arguments):
        warm_up(*arguments)
        warm[0] = True

    def entered(self, name, *arguments, **named):
        stage[0] = name
        enter(self, name, *arguments, **named)

    def compiled(self, types):
        if warm[0] and self.py_func.__module__.startswith("deshpc.") and str(types) not in map(str, self.overloads):
            late.append((self.py_func.__name__, str(types), stage[0]))
        return compile_one(self, types)

    with (
        mock.patch.object(session, "warm_up", warmed), mock.patch.object(Watchdog, "enter", entered),
        mock.patch.object(Dispatcher, "compile", compiled),
    ):  # fmt: skip
        yield late
