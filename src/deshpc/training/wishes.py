"""What a rank wants of all at a meeting: a checkpoint because it is time for one, or an end behind one, and why."""

import signal
import time

from deshpc.errors import Stopped
from deshpc.launch.walltime import seconds_left

CHECKPOINT, _TIME, _SIGNALS = 1, 2, 16
"""Wishes, of which the largest counts: a checkpoint; an end, since the time is up; an end by a signal, whose number is added."""


class Wishes:
    """The wish of this rank, when called.

    config : CheckpointConfig
    noted : `Noted` of the process
    rank : of its group; rank 0 looks at the clock for all
    begun_s : seconds since the run began
    busy : function, whether a checkpoint is still being written: then none is due by time
    """

    def __init__(self, config, noted, rank, begun_s, busy=lambda: False, clock=time.monotonic):
        self._noted, self._busy, self._clock, self._first = noted, busy, clock, rank == 0
        self._every_s, self._last = 60 * config.every_minutes, clock()
        self._end = clock() + seconds_left(config.walltime_s, config.margin_s, begun_s) if self._first else float("inf")

    def __call__(self):
        """CHECKPOINT, an end, or 0."""
        if self._noted.number:
            return _SIGNALS + self._noted.number
        if not self._first:
            return 0
        now = self._clock()
        if now >= self._end:
            return _TIME
        return CHECKPOINT if self._every_s and now - self._last >= self._every_s and not self._busy() else 0

    def written(self):
        """A checkpoint was made now."""
        self._last = self._clock()


def why_to_end(wish):
    """Why to end, in words; None where a wish is none for an end."""
    if wish == _TIME:
        return "the time limit"
    return signal.Signals(wish - _SIGNALS).name if wish > _SIGNALS else None


def end_by(wish, session, reports, steps, begun):
    """Raise the Stopped of a wish for an end on every rank, behind a line in the record; nothing where it is none.  Collective.

    steps : that the run has made
    begun : whether there is a checkpoint of them
    """
    if why := why_to_end(wish):
        reports.paused(step=steps, why=why)
        raise Stopped(why, steps, session.config.run.directory, begun=begun).shared_by(session.group.size)
