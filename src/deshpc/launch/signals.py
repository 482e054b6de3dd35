"""SIGTERM as an exception, as Python does with SIGINT."""

import os
import signal
import threading
from contextlib import contextmanager

_AGAIN_S = 0.05


class Terminated(BaseException):
    """SIGTERM has arrived.  Like KeyboardInterrupt, no handler of ordinary errors catches it."""

    exit_code = 143


@contextmanager
def sigterm_raises():
    """Turn SIGTERM into Terminated in the main thread, unless the program has a handler of its own."""
    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if mine:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number, frame):
    if _called_by_compiler(frame):
        threading.Timer(_AGAIN_S, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise Terminated


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
