"""Files that one rank has written and another is to read: a network's file system may show them later there."""

import os
import time
from contextlib import suppress

from deshpc.errors import DataError
from deshpc.launch.console import say

APPEAR_S = 60.0
_TELL_S, _LOOK_S = 5.0, 0.05


def wait_for(path, limit_s=APPEAR_S):
    """Return a path when a file is there; says what is waited for.  DataError after `limit_s` seconds.  Not collective."""
    begin, told = time.monotonic(), False
    while not path.exists():
        waited = time.monotonic() - begin
        if waited > limit_s:
            raise DataError(f"{path}: is not seen after {limit_s:.0f} s, and another rank has written it: run.directory must be in a file system that all nodes share")
        if waited > _TELL_S and not told:
            told = True
            say(f"deshpc: note: waiting for {path}, which another rank has written: the file system is slow to show it\n")
        with suppress(OSError):
            os.listdir(path.parent)  # a client that remembers that there is no such file asks again
        time.sleep(_LOOK_S)
    return path
