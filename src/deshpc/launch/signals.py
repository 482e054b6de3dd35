"""SIGTERM as an exception, as Python does with SIGINT; an end within seconds where neither can be raised; and a first one that is noted alone.

Python runs a handler when the main thread comes back to it.  A call of the compiler may last half a minute.  So a thread hears of
a signal at once, and ends the process where the main thread has not done so soon.
"""

import os
import signal
import socket
import threading
import time
from contextlib import contextmanager

_AGAIN_S = 0.05
_WITHIN_S = 3.0
_SAME_S = 1.0  # a launcher and whoever has signalled it may both tell a rank

_heard = threading.Event()
"""Whether the main thread has raised what a signal means, or listens no more."""


_noted = None
"""The `Noted` of the block that is under way."""


class Terminated(BaseException):
    """SIGTERM has arrived, or the signal that is named.  Like KeyboardInterrupt, no handler of ordinary errors catches it."""

    exit_code = 143


_ERRORS = {signal.SIGTERM: Terminated, signal.SIGINT: KeyboardInterrupt}
_DEFAULTS = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


class Noted:
    """The first signal that a run is to end by in its own time; a second one does what signals do elsewhere.

    number : of the signal, None before
    """

    def __init__(self, stop_signal):
        """stop_signal : the number of the one that is noted from the beginning"""
        self.number, self._takes, self._first = None, {stop_signal}, {}

    def note_all(self):
        """From now on SIGTERM and SIGINT are noted, too, where `signals_raise` has them."""
        self._takes |= set(_ERRORS)

    def takes(self, number, observer):
        """Whether a signal that arrives now is noted and nothing else.  observer : handler and thread each see every signal"""
        if number not in self._takes:
            return False
        now = time.monotonic()
        first = self._first.setdefault(observer, now)
        self.number = self.number or number
        return now - first < _SAME_S


@contextmanager
def signals_noted(name):
    """Give a Noted, which notes the signal of this name in a block, in the main thread, unless the program has a handler of its own."""
    global _noted
    number = getattr(signal, name)
    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(number) is signal.SIG_DFL
    before, _noted = _noted, Noted(number)
    if mine:
        signal.signal(number, _raise)
    try:
        yield _noted
    finally:
        _noted = before
        if mine:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def signals_raise():
    """Turn SIGTERM into Terminated, SIGINT into KeyboardInterrupt, in the main thread, unless the program has handlers of its own."""
    main = threading.current_thread() is threading.main_thread()
    mine = [number for number, default in _DEFAULTS.items() if main and signal.getsignal(number) is default]
    for number in mine:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, _DEFAULTS[number])


@contextmanager
def heard_in_time(end):
    """Call end(error) from another thread where the main thread does not raise within seconds what a signal means.

    Inside `signals_raise`.  Elsewhere, and where the program hears of signals in a way of its own, nothing is done.
    """
    main = threading.current_thread() is threading.main_thread()
    numbers = {number for number in _ERRORS if main and signal.getsignal(number) is _raise}
    here, there = socket.socketpair()
    here.setblocking(False)
    before = signal.set_wakeup_fd(here.fileno(), warn_on_full_buffer=False) if numbers else -1
    if before != -1:  # an event loop's
        signal.set_wakeup_fd(before)
    listens = bool(numbers) and before == -1
    _heard.clear()
    if listens:
        threading.Thread(target=_listen, args=(there, numbers, end), name="deshpc-signals", daemon=True).start()
    try:
        yield
    finally:
        _heard.set()
        if listens:
            signal.set_wakeup_fd(-1)
        here.close()
        if not listens:
            there.close()


def _listen(there, numbers, end):
    with there:
        while arrived := there.recv(1):
            if arrived[0] not in numbers or (_noted is not None and _noted.takes(arrived[0], "thread")):
                continue
            if not _heard.wait(_WITHIN_S):
                end(_ERRORS[arrived[0]]())


def _raise(number, frame):
    if _noted is not None and _noted.takes(number, "handler"):
        return
    if _called_by_compiler(frame):
        threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number)).start()
        return
    _heard.set()
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_IGN)  # once is enough
    raise _ERRORS[number]() if number in _ERRORS else Terminated(signal.Signals(number).name)


def _called_by_compiler(frame):
    """Whether compiled code has called back into Python: an exception would not get through it, but be printed and forgotten."""
    while frame is not None:
        if frame.f_code.co_name.startswith("_raw_object_cache"):  # of llvmlite's ExecutionEngine
            return True
        frame = frame.f_back
    return False


def ignore_signals():
    """Let neither SIGTERM nor SIGINT interrupt what follows, if this is the main thread."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
