"""A run never hangs: a thread of every rank notices that nothing moves any more, and ends it, naming who and where.

A rank that has stayed at one place for longer than the limit asks all the others where they are.  If any of them has
moved since, all is well.  If none has, the one that asks says which ranks are where, and for how long: those that have
made the fewest moves hold up the others.  A rank that does not answer is stopped, dead, or holds Python's lock.

Reading a file and compiling a kernel take as long as they take, without a word.  In such a stage, in which a rank calls no MPI
and so waits for no other, it moves as long as it uses a processor.
"""

import sys
import threading
import time
from pathlib import Path

import numpy as np

from deshpc.comm.handle import complete
from deshpc.errors import DeshpcError, OutOfMemory
from deshpc.launch.failure import fail, may_call_mpi
from deshpc.launch.place import Place, describe

_LONGEST_NAP_S = 5.0
_WORKS_S, _WORKS_SHARE = 0.001, 0.002  # of a processor, between two looks: the watchdog itself takes less
_ASK, _TELL = 1, 2  # tags; other tags of the communicator are left alone


class NoProgress(DeshpcError):
    """No rank has moved for longer than train.watchdog_s."""


class Watchdog:
    """Watches the ranks of `comm`.  Creating and closing one are collective; entering a stage is not.

    limit_s : seconds without progress on any rank after which the run ends with exit code 1; 0: never

    A context manager: it closes after the block, and after an error that all ranks share; otherwise it only stops.
    Where the MPI library lets but one thread call it, a rank judges and reports by itself alone, from the first step on.
    """

    def __init__(self, comm, limit_s):
        self.step = 0
        self._moves, self._place, self._used_s = 0, (0, 0, "start", False), time.process_time()
        self._limit_s, self._nap_s = limit_s, min(limit_s / 10, _LONGEST_NAP_S)
        self._answers_within_s = 3.0 + 2 * self._nap_s
        self._comm = self._thread = None
        if limit_s > 0:
            self._comm = comm.Dup()
            self._sent, self._received = np.zeros(comm.size, np.int64), 0  # messages to each rank, and from all
            self._under_way, self._question, self._answers = [], 0, {}
            self._since, self._idle_s = self._place, 0.0
            self._put_off()
            self._closing = threading.Event()
            self._thread = threading.Thread(target=self._run, name="deshpc-watchdog", daemon=True)
            self._thread.start()

    def begin_step(self, number):
        """From now on this step is under way."""
        self.step = number

    def enter(self, stage, works=False):
        """This rank's main thread begins `stage` of the present step: it moves.  Takes some 100 ns.

        works : it calls no MPI in this stage, and moves as long as it uses a processor
        """
        self._moves += 1
        self._place = (self._moves, self.step, stage, works)

    def stop(self):
        """Watch no more.  Not collective; the other ranks get no answer from this one."""
        if self._thread:
            self._closing.set()
            self._thread.join()

    def close(self):
        """Watch no more, and give the communicator back.  Collective."""
        self.stop()
        if self._comm:
            expected = np.zeros(1, np.int64)
            complete(self._comm.Ireduce_scatter_block(self._sent, expected))
            while self._received < expected[0]:
                self._receive()
            for request in self._under_way:
                complete(request)
            self._comm.Free()
            self._comm = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        alone = self._comm and self._comm.size > 1 and getattr(error, "agreed", 1) < self._comm.size
        if error is not None and alone:
            self.stop()  # the others are elsewhere
        else:
            self.close()
        if isinstance(error, MemoryError):
            raise OutOfMemory(str(error), f"in {self._place[2]!r} of step {self._place[1]}") from error

    def _run(self):
        try:
            talks = self._comm.size > 1 and may_call_mpi()
            before = time.monotonic()
            while not self._closing.wait(self._nap_s):
                now = time.monotonic()
                self._look(min(now - before, 2 * self._nap_s))  # more: the process itself was stopped meanwhile
                before = now
                if talks:
                    self._answer()
                if self._idle_s >= self._asks_at_s if talks else self._idle_s >= self._limit_s and self.step > 0:
                    self._judge(talks)
        except Exception as error:
            fail(self._comm, error)

    def _look(self, seconds):
        """See whether the main thread has moved in the last `seconds`."""
        before, self._used_s = self._used_s, time.process_time()
        works = self._place[3] and self._used_s - before > _WORKS_S + _WORKS_SHARE * seconds
        if self._place is self._since and not works:
            self._idle_s += seconds
        else:
            self._since, self._idle_s = self._place, 0.0
            self._put_off()

    def _put_off(self, until_s=0.0):
        """Ask when this rank has been idle for `until_s`, if not for the limit and a time for lower ranks to ask first.

        That time grows with the logarithm of the rank, so that not all ranks ask at once.
        """
        turn = self._comm.rank.bit_length() * (self._answers_within_s + 2 * self._nap_s)
        self._asks_at_s = max(until_s, self._limit_s + turn)

    def _judge(self, talks):
        """Find out where all ranks are; end the run if none of them has moved."""
        places = {self._comm.rank: self._here()}
        if talks:
            if not self._ask_all():
                return
            places |= self._answers
            latest = min(place.idle_s for place in places.values())
            if latest < self._limit_s:
                self._asks_at_s = self._idle_s + self._limit_s - latest
                return
        silent = set(range(self._comm.size)) - set(places) if talks else ()
        fail(self._comm, NoProgress(describe(places, silent, self._limit_s)), prefix="")

    def _ask_all(self):
        """Fill in the answers that come in time; False if this rank moves meanwhile, or the watchdog is closed."""
        self._question, self._answers = self._question + 1, {}
        for rank in range(self._comm.size):
            if rank != self._comm.rank:
                self._send(rank, _ASK, self._question)
        until = time.monotonic() + self._answers_within_s
        while len(self._answers) < self._comm.size - 1 and time.monotonic() < until:
            if self._closing.wait(min(0.05, self._nap_s)) or self._place is not self._since:
                return False
            self._answer()
        return self._place is self._since

    def _answer(self):
        """Take in all messages that have arrived; answer questions."""
        while (message := self._receive()) is not None:
            rank, tag, thing = message
            if tag == _ASK:
                self._send(rank, _TELL, (thing, self._here()))
                if rank < self._comm.rank:
                    self._put_off(self._idle_s + 2 * self._answers_within_s)
            elif thing[0] == self._question:
                self._answers[rank] = thing[1]

    def _here(self):
        frame = sys._current_frames().get(threading.main_thread().ident)
        line = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else ""
        return Place(*self._since[:3], self._idle_s, line)

    def _send(self, rank, tag, thing):
        from mpi4py import MPI

        self._under_way = [request for request in self._under_way if not request.Test()]
        try:
            self._under_way.append(self._comm.isend(thing, rank, tag))
            self._sent[rank] += 1
        except MPI.Exception:  # a rank that cannot be reached does not answer
            pass

    def _receive(self):
        """(rank, tag, thing) of a message, or None."""
        from mpi4py import MPI

        status = MPI.Status()
        for tag in (_ASK, _TELL):
            message = self._comm.improbe(MPI.ANY_SOURCE, tag, status)
            if message is not None:
                self._received += 1
                return status.source, tag, message.recv()
        return None
