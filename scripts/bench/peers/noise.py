"""Was a measurement disturbed?  The processors' busy time that is not ours, from /proc/stat.

A Meter reads two clocks at begin and end: the busy time of all cores (user, nice, system, interrupts, and time that the
hypervisor gave to others), and the processor time of the measured processes.  The difference is others' work; it is
given as a share of all cores' time.  A run is disturbed if that share is above DISTURBED after ticks are allowed for:
the kernel counts busy time in ticks of 10 ms a core, which matters in runs of a fraction of a second.

Where there is no /proc/stat, nothing is known and no run counts as disturbed.
"""

import os
import resource
import time

DISTURBED = 0.05
IDLE = (3, 4)  # columns of /proc/stat: idle, waiting for a disk
COLUMNS = 8  # the others beyond are contained in the first ones


def busy_seconds():
    """Busy seconds of all cores since the machine was started, None where that is not known."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(text) for text in file.readline().split()[1 : 1 + COLUMNS]]
    except OSError:
        return None
    return sum(count for column, count in enumerate(ticks) if column not in IDLE) / os.sysconf("SC_CLK_TCK")


def own_seconds():
    """Processor seconds of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Meter:
    """Measures from its creation on."""

    def __init__(self):
        self._busy, self._own, self._begin = busy_seconds(), own_seconds(), time.perf_counter()

    def stop(self, own_of_all=lambda seconds: seconds):
        """{"seconds", "own_cpu_seconds", "others_share"} since the creation; others_share is None where it is not known.

        own_of_all : function that adds up this process's seconds and those of the other measured ones
        """
        seconds, busy, own = time.perf_counter() - self._begin, busy_seconds(), own_of_all(own_seconds() - self._own)
        share, cores = None, os.cpu_count()
        if busy is not None:
            ticks = cores / os.sysconf("SC_CLK_TCK")
            share = max(0.0, busy - self._busy - own - ticks) / (seconds * cores)
        return {"seconds": seconds, "own_cpu_seconds": own, "others_share": share}


def disturbed(measured):
    """Whether others have worked too much during what a Meter has measured."""
    return (measured["others_share"] or 0.0) > DISTURBED
