"""The threads of one rank.  Each takes one shard (or one part of the samples); kernels release the GIL."""

from concurrent.futures import ThreadPoolExecutor


class Team:
    """`size` threads, of which the caller is the first."""

    def __init__(self, size):
        self.size = size
        self._pool = ThreadPoolExecutor(size - 1, thread_name_prefix="deshpc-shard") if size > 1 else None

    def each(self, function, arguments):
        """[function(*arguments[0]), function(*arguments[1]), ...], side by side; the first error is raised."""
        arguments = list(arguments)
        waiting = [self._pool.submit(function, *one) for one in arguments[1:]] if self._pool else []
        results = [function(*arguments[0])]
        if self._pool:
            return results + [future.result() for future in waiting]
        return results + [function(*one) for one in arguments[1:]]

    def close(self):
        """Let the threads go."""
        if self._pool:
            self._pool.shutdown()
