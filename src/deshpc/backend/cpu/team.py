"""The threads of one rank.  Each takes one shard (or one part of the samples); kernels release the GIL."""

from concurrent.futures import ThreadPoolExecutor, wait


class Team:
    """`size` threads, of which the caller is the first."""

    def __init__(self, size):
        self.size = size
        self._pool = ThreadPoolExecutor(size - 1, thread_name_prefix="deshpc-shard") if size > 1 else None

    def each(self, function, arguments):
        """[function(*arguments[0]), function(*arguments[1]), ...], side by side.

        The first error is raised, when all threads have come to rest.
        """
        if self._pool is None:
            return [function(*one) for one in arguments]
        first, *others = arguments
        waiting = [self._pool.submit(function, *one) for one in others]
        try:
            result = function(*first)
        finally:
            wait(waiting)
        return [result, *(future.result() for future in waiting)]

    def close(self):
        """Let the threads go."""
        if self._pool:
            self._pool.shutdown()
