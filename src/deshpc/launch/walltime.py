"""When the time is up that a run has: that of its configuration, or that of its Slurm job."""

import os
import re
import subprocess
import time
from contextlib import suppress

_ASK_S = 10.0
_MOST_OF_IT = 0.1


def seconds_left(walltime_s, margin_s, begun_s=0.0, environment=os.environ):
    """Seconds from now after which a run has to stop, so that it ends in time; infinite where nothing limits it.

    walltime_s : from its start, begun_s seconds ago; 0: until the end of the Slurm job that this process is in
    margin_s : before the end; at most a tenth of the time
    """
    left = walltime_s - begun_s if walltime_s else job_end(environment) - time.time()
    return left - min(margin_s, _MOST_OF_IT * max(left, 0.0))


def job_end(environment=os.environ):
    """When the Slurm job of this process is ended, in seconds since 1970; infinite where there is no job, or no limit is known."""
    if "SLURM_JOB_ID" not in environment:
        return float("inf")
    told = environment.get("SLURM_JOB_END_TIME", "")
    return float(told) if told.isdigit() and int(told) else _asked(environment)


def _asked(environment):
    """The same, from scontrol: Slurm before 22.05 sets no variable."""
    command = ["scontrol", "show", "job", "--oneliner", environment["SLURM_JOB_ID"]]
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        text = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, env=dict(environment), stdin=subprocess.DEVNULL).stdout
        if found := re.search(r"\bEndTime=(\d\S*)", text):
            return time.mktime(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S"))
    return float("inf")
