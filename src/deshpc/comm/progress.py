"""A thread that moves started exchanges on while the others compute: MPI hardly moves data outside its own calls."""

import threading
import time
from collections import deque

_PAUSE_S = 2e-4  # six pieces of 64 KB: 2 GB a second


class Progress:
    """Tests requests until they are complete.  It ends nothing: an error of a request is met by who waits for it.

    MPI has to allow calls of several threads at once; where it does not (`allows_threads`), nothing is moved on.
    """

    def __init__(self):
        self._requests, self._news, self._thread = deque(), threading.Event(), None
        self._works = allows_threads()

    def watch(self, request):
        """Move `request` on, which any thread may test, until it is complete; returns it."""
        if self._works and not request.Test():
            self._requests.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
                self._thread.start()
            self._news.set()
        return request

    def close(self):
        """End the thread.  What is under way is not waited for."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._news.set()
            thread.join()

    def _run(self):
        while self._thread is not None:
            self._news.wait()
            self._news.clear()
            while self._requests and self._thread is not None:
                for _ in range(len(self._requests)):
                    request = self._requests.popleft()
                    if not _tested(request):
                        self._requests.append(request)
                time.sleep(_PAUSE_S)


def allows_threads():
    """Whether several threads may call MPI at once."""
    from mpi4py import MPI

    return MPI.Query_thread() == MPI.THREAD_MULTIPLE


def _tested(request):
    """Whether nothing is left to do for a request: who waits for it meets its error, too."""
    try:
        return request.Test()
    except Exception:  # noqa: BLE001
        return True
