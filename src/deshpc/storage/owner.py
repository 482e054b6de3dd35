"""Who holds a lock: a process, told from another one of the same number by its start, and by the machine's.

The machine is a boot and a space of process numbers: two containers of one host have the same boot, but a process number
means something else in each.
"""

import os
import socket
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

DEAD, ALIVE, UNKNOWN = "dead", "alive", "unknown"
_LONGEST, _HIGHEST = 200, 2**62  # what an entry of a file may be


@dataclass(frozen=True)
class Owner:
    """token : of this one lock
    host, process : where it was taken
    machine : of the process number, "" where that cannot be told
    start : of the process, in ticks since the machine's, 0 where that cannot be told
    since : when it was taken, in words
    """

    token: str
    host: str
    process: int
    machine: str
    start: int
    since: str

    @classmethod
    def here(cls, token):
        """This process."""
        process = os.getpid()
        since = time.strftime("%Y-%m-%d %H:%M:%S %z")
        return cls(token, socket.gethostname(), process, _machine(), _start_of(process) or 0, since)

    @classmethod
    def from_json(cls, tree):
        """ValueError where a tree of plain values is not that of an Owner."""
        if not isinstance(tree, dict) or set(tree) != {one.name for one in fields(cls)}:
            raise ValueError("other entries")
        for one in fields(cls):
            value = tree[one.name]
            fits = 0 <= value < _HIGHEST if type(value) is int else isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST
            if type(value) is not one.type or not fits:
                raise ValueError(one.name)
        return cls(**tree)

    def to_json(self):
        """As plain values."""
        return asdict(self)

    def __str__(self):
        return f"process {self.process} on {self.host}, since {self.since}"

    def state(self):
        """DEAD, ALIVE, or UNKNOWN where the process is another machine's, or this one cannot tell."""
        if not (self.machine and self.process and self.start) or self.machine != _machine():
            return UNKNOWN
        try:
            os.kill(self.process, 0)
        except PermissionError:  # it is there
            pass
        except (ProcessLookupError, OverflowError):
            return DEAD
        start = _start_of(self.process)
        if start is None:  # a machine may hide other users' processes
            return UNKNOWN
        return ALIVE if start == self.start else DEAD


def _machine():
    """Boot and space of process numbers, as Linux tells them; "" elsewhere."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + " " + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_of(process):
    """When a process of this machine started, in ticks since the machine's start; -1 if it has ended, None if that is not told."""
    try:
        state, *entries = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return -1 if state in "ZX" else int(entries[18])  # the 22nd entry of all; one that has ended may still be listed
    except (OSError, ValueError, IndexError):
        return None
