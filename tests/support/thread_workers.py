"""Threads of one process in the place of a node's workers."""

from concurrent.futures import ThreadPoolExecutor

from deshpc.comm.workers import OneWorker


class Threads(OneWorker):
    """`size` threads of one process as workers."""

    def __init__(self, size):
        self.size, self.own = size, range(size)

    def run(self, task):
        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(task, self.own))
