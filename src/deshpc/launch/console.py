"""What the program says to a person.  Nobody who does not listen ends a run or holds it up.

A write to standard error or output fails where its reader has left or its disk is full, and waits where nobody reads a pipe.  So
a thread writes, from a queue whose end is dropped where it grows too long, and straight to the descriptor: what Python's streams
cannot write they keep, and fail with it again when the program ends.
"""

import atexit
import os
import queue
import select
import sys
import threading
from contextlib import suppress

_MOST_WAITING = 1000
_AT_END_S = 1.0


class _Voice:
    """A thread that does one task after another; it exists from the first one on."""

    def __init__(self):
        self._tasks, self._thread = queue.Queue(_MOST_WAITING), None

    def put(self, task):
        """Have a task done, unless too many wait."""
        with suppress(queue.Full):
            self._tasks.put_nowait(task)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="deshpc-console", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no memory for a thread; it may be why there is something to say
                self._thread = None
                self._do(self._tasks.get_nowait())

    def wait(self, seconds):
        """Whether all tasks are done within so many seconds (None: however long it takes)."""
        done = self._tasks.all_tasks_done
        with done:
            return done.wait_for(lambda: not self._tasks.unfinished_tasks, seconds)

    def _run(self):
        while True:
            self._do(self._tasks.get())

    def _do(self, task):
        with suppress(OSError, ValueError):
            task()
        self._tasks.task_done()


_error, _output = _Voice(), _Voice()


def say(text):
    """Write to standard error, after all that was said before, or not at all.  Does not wait."""
    stream = sys.stderr
    if stream is None:
        return
    if stream is sys.__stderr__:
        _error.put(lambda: _write(2, text, stream))
    else:  # a notebook's, a test's
        with suppress(OSError, ValueError):
            stream.write(text)
            stream.flush()


def flush(seconds=_AT_END_S):
    """Wait, but not for longer than that, until all is written that was said or printed."""
    if sys.stdout is not None:
        _output.put(sys.stdout.flush)
    _error.wait(seconds)
    _output.wait(seconds)


def put_out(text, seconds=None):
    """Write a command's result to standard output.  OSError where it cannot be written, or not within so many seconds."""
    stream = sys.stdout
    if stream is None:  # closed by whoever started the program: wants none
        return
    errors = [TimeoutError("nobody reads it")]

    def task():
        try:
            stream.flush()
            if stream is sys.__stdout__:
                _write(1, text, stream)
            else:
                stream.write(text)
                stream.flush()
            errors.clear()
        except OSError as error:
            errors[:] = [error]

    _output.put(task)
    _output.wait(seconds)
    if errors:
        if stream is sys.__stdout__:  # what the stream still holds must not fail again at the program's end
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise errors[0]


def hold_descriptors():
    """Where standard input, output or error is closed, have none of the program's own files take its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _write(descriptor, text, stream):
    data = text.encode(stream.encoding, "backslashreplace")
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # somebody else has asked for writes that do not wait
            select.select([], [descriptor], [])


atexit.register(_error.wait, _AT_END_S)
