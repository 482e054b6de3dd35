"""SIGTERM as an exception, as Python does with SIGINT; and an end within seconds where neither can be raised.

Python runs a handler when the main thread comes back to it.  A call of the compiler may last half a minute.  So a thread hears of
a signal at once, and ends the process where the main thread has not done so soon.
"""

import os
import signal
import socket
import threading
from contextlib import contextmanager

_AGAIN_S = 0.05
_WITHIN_S = 3.0

_heard = threading.Event()
"""Whether the main thread has raised what a signal means, or listens no more."""


class Terminated(BaseException):
    """SIGTERM has arrived.  Like KeyboardInterrupt, no handler of ordinary errors catches it."""

    exit_code = 143


_ERRORS = {signal.SIGTERM: Terminated, signal.SIGINT: KeyboardInterrupt}
_DEFAULTS = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


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
            if arrived[0] in numbers and not _heard.wait(_WITHIN_S):
                end(_ERRORS[arrived[0]]())


def _raise(number, frame):
    if _called_by_compiler(frame):
        threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number)).start()
        return
    _heard.set()
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_IGN)  # once is enough
    raise _ERRORS[number]


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
