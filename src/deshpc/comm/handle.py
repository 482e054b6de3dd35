"""What a started exchange is: something that is waited for later."""

import os
import time

_PAUSE_S = 1e-4


class Handle:
    """A started exchange.  wait() completes it and returns its result; waiting twice is an error.

    finish : completes the exchange and returns its result
    request : what is under way, if anything
    """

    def __init__(self, finish, request=None):
        self._finish, self._request = finish, request

    def wait(self):
        """Block until the result is there; returns it."""
        finish, self._finish = self._finish, None
        return finish()

    def then(self, work):
        """A handle whose result is work(the result of this one), done when it is waited for."""
        return Handle(lambda: work(self.wait()), self._request)

    def poke(self):
        """Let the exchange make progress between pieces of other work: MPI hardly moves data outside its own calls."""
        if self._request is not None:
            self._request.Test()


def done(result):
    """A handle whose result is already there."""
    return Handle(lambda: result)


def all_of(handles, result):
    """A handle of `result`, which is there when all `handles` are complete."""

    def finish():
        for handle in handles:
            handle.wait()
        return result

    return Handle(finish, _All(handles))


class _All:
    """Several handles, as what is under way."""

    def __init__(self, handles):
        self._handles = handles

    def Test(self):
        """Poke them all."""
        for handle in self._handles:
            handle.poke()


def started(request, result, patience_s=float("inf")):
    """A handle of an MPI request that will have filled `result`.  patience_s : of `complete`"""

    def finish():
        complete(request, patience_s)
        return result

    return Handle(finish, request)


def complete(request, patience_s=float("inf")):
    """Wait for an MPI request, offering the core to others between looks; after `patience_s` sleeping in between.

    Where ranks outnumber cores, a rank that spins inside MPI keeps the one it waits for off its core for a whole time
    slice of the scheduler, milliseconds.
    """
    begin = time.monotonic()
    while not request.Test():
        if time.monotonic() - begin < patience_s:
            os.sched_yield()
        else:
            time.sleep(_PAUSE_S)
