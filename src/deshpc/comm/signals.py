"""SIGTERM as an exception, as Python does with SIGINT."""

import signal
import threading
from contextlib import contextmanager


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
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise Terminated


def ignore_signals():
    """Let neither SIGTERM nor SIGINT interrupt what follows, if this is the main thread."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
