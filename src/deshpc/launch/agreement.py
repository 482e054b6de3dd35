"""What has to be the same on all ranks before they start: versions, code, the run's folder and every option."""

import hashlib
import json
import os
from importlib import metadata

import deshpc
from deshpc.comm.group import Group
from deshpc.config import flat, resolved
from deshpc.errors import DeshpcError, LaunchError
from deshpc.jit import source_digest


def agreed(comm, read, facts):
    """read() of this rank, when all ranks have read the same.  Collective.

    A DeshpcError of any rank is raised on all of them; where facts(result) differ, a LaunchError says in what.
    """
    group = Group(comm)
    try:
        result = group.together(read)
        same_on_all_ranks(group, facts(result))
    except DeshpcError:  # on every rank
        group.free()
        raise
    group.free()
    return result


def run_facts(command, config):
    """What ranks that run `command` by a Config must have in common, as nested dictionaries of plain values."""
    return {
        "command": command,
        "deshpc": deshpc.__version__,
        **{name: metadata.version(name) for name in ("numba", "numpy")},
        "code": source_digest(),
        "run folder": os.path.abspath(config.run.directory),  # the working directory counts, where it matters
        **resolved(config),
    }


def same_on_all_ranks(group, facts):
    """Raise a LaunchError on every rank, naming what differs, unless `facts` are equal on all of them.  Collective."""
    own = flat(facts)
    digests = group.gather(hashlib.sha256(json.dumps(own, sort_keys=True).encode()).digest())
    if len(set(digests)) == 1:
        return
    first = group.from_first(own)
    names = [name for name in {**first, **own} if first.get(name) != own.get(name)]
    error = None
    if names:
        here, there = (f"{some[names[0]]!r}" if names[0] in some else "missing" for some in (own, first))
        error = LaunchError(f"the ranks differ: {names[0]} is {here}, on rank 0 it is {there}")
    group.agree(error)
