"""A thread that makes things before they are asked for, a few at a time."""

import threading
from collections import deque
from enum import Enum


class End(Enum):
    """What comes after the last thing; the same one on other ranks, too."""

    END = "end"


END = End.END


class Ahead:
    """Has an iterator's things made by a thread.

    most : how many wait to be taken, at most; one more may be under way
    """

    def __init__(self, things, most=2):
        self._things, self._most = things, most
        self._made, self._error, self._closed = deque(), None, False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="deshpc-ahead", daemon=True)
        self._thread.start()

    def take(self, seconds=None):
        """The next thing, END after the last, None where there is none within so many seconds (None: however long it takes).

        What the iterator has raised is raised when it would have been this thing's turn.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._made or self._error, seconds)
            if self._made:
                thing = self._made[0]
                if thing is not END:
                    self._made.popleft()
                self._changed.notify_all()
                return thing
            if self._error:
                raise self._error
            return None

    def close(self):
        """Make no more.  What is under way ends by itself."""
        with self._changed:
            self._closed = True
            self._made.clear()
            self._changed.notify_all()

    def _run(self):
        try:
            for thing in self._things:
                if not self._put(thing):
                    return
            self._put(END)
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _put(self, thing):
        """Whether somebody still wants it."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._made) < self._most or self._closed)
            if not self._closed:
                self._made.append(thing)
                self._changed.notify_all()
            return not self._closed
