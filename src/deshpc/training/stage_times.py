"""How long a rank's training steps are in each stage, of which `Session.enter` is told."""

import time
from collections import defaultdict


class StageTimes:
    """Seconds of this rank in each stage of its training steps, since they were last taken.

    Only what lies between `begin` and `end` counts: an evaluation has stages of the same names.
    """

    def __init__(self, clock=time.perf_counter):
        """clock : function that gives seconds"""
        self._clock, self._seconds, self._stage, self._since = clock, defaultdict(float), None, 0.0

    def begin(self, stage):
        """Training goes on, in this stage."""
        self._stage, self._since = stage, self._clock()

    def enter(self, stage):
        """The stage before has ended.  Takes some 200 ns, and a fraction of it where nothing is trained."""
        if self._stage is None:
            return
        now = self._clock()
        self._seconds[self._stage] += now - self._since
        self._stage, self._since = stage, now

    def end(self):
        """Training pauses."""
        self.enter(None)

    def take(self):
        """{stage: seconds} since the last call, the present stage's until now."""
        self.enter(self._stage)
        taken, self._seconds = dict(self._seconds), defaultdict(float)
        return taken
