"""`deshpc doctor`: how the ranks were started, what they have, how fast they talk; every known trap with its remedy.

Alone, under mpiexec or under srun; also where training refuses to start.
"""

from collections import Counter
from dataclasses import asdict

from deshpc.cli.tables import aligned
from deshpc.errors import DeshpcError, LaunchError
from deshpc.storage.strict_json import json_text

_MOST_HOSTS = 4


def examine(as_json):
    """Print the report from rank 0; returns the exit code: 4 if runs cannot be right.  Collective."""
    from deshpc.launch.start import leave_together, run, start

    started = start()
    if started.problem is None:
        return run(lambda comm: _report(started, comm, comm.rank == 0, as_json), started.comm)
    code = _report(started, None, started.launcher.rank == 0, as_json)
    if started.launcher.ranks > 1:
        leave_together(code)
    return code


def _report(start, comm, first, as_json):
    """comm : None where the ranks are not joined: then this one knows of itself only."""
    from deshpc.doctor.facts import gather, kill_on_bad_exit
    from deshpc.doctor.probe import measure
    from deshpc.doctor.transports import find_transports
    from deshpc.doctor.traps import WRONG, find_traps
    from deshpc.launch.library import thread_level

    facts = gather(comm)
    speeds = measure(comm) if comm else None
    ways = find_transports(facts) if comm and first else []
    traps = find_traps(start, facts, kill_on_bad_exit() if first else None)
    if first and as_json:
        tree = {
            "launcher": asdict(start.launcher),
            "library": start.library and {
                "name": start.library.name, "version": start.library.version,
                "threads": thread_level() if comm else None,
            },
            "transports": [way._asdict() for way in ways],
            "joined": comm is not None, "ranks": [asdict(one) for one in facts], "speeds": speeds and asdict(speeds),
            "traps": [asdict(trap) for trap in traps],
        }  # fmt: skip
        _put_out(json_text(tree, indent=1))
    elif first:
        found = [
            ("launcher", f"{start.launcher.name}, {_count(start.launcher.ranks, 'process', 'processes')}"),
            ("MPI", _library(start, comm and thread_level())),
        ]
        checks = [(trap.name, f"{trap.level:<6}{trap.text}".rstrip()) for trap in traps]
        sections = [found + (_machine(facts) if comm else []), _transports(ways), _speeds(speeds) if speeds else [], checks]
        _put_out("\n\n".join(aligned(lines) for lines in sections if lines))
    return LaunchError.exit_code if any(trap.level == WRONG for trap in traps) else 0


def _put_out(text):
    from deshpc.launch.console import put_out

    try:
        put_out(text + "\n")
    except OSError as error:
        raise DeshpcError(f"the result cannot be written to standard output: {error.strerror or error}") from None


def _library(start, threads):
    if start.library is None:
        return "none"
    return f"{start.library}, not started" if threads is None else f"{start.library}, threads {threads}"


def _transports(ways):
    """Lines on the ways of a device's arrays between ranks."""
    answers = {True: "yes", False: "no", None: "unknown"}
    return [(f"transport {way.name}", f"{answers[way.works]}: {way.how}") for way in ways]


def _machine(facts):
    nodes = Counter(one.node for one in facts)
    hosts = list(dict.fromkeys(one.host for one in facts))
    shown = ", ".join(hosts[:_MOST_HOSTS]) + (", ..." if len(hosts) > _MOST_HOSTS else "")
    device = facts[0].device
    return [
        ("ranks", f"{len(facts)} on {_count(len(nodes), 'node')} ({shown}), {_range(nodes.values())} on each"),
        ("cores a rank", f"{_range(one.threads for one in facts)} of {_range(one.node_cores for one in facts)} on its node"),
        ("devices a rank sees", f"{_range(len(one.devices) for one in facts)}"),
        ("device of rank 0", f"{device.number}: {device.name}, {device.identity}" if device else "none"),
        ("versions", facts[0].versions),
    ]


def _speeds(speeds):
    """A table: a line for each number, a column for each set of ranks that differs from the others."""
    columns = [("in a node", speeds.inside), ("between nodes", speeds.between)]
    if speeds.inside and speeds.between:
        columns.append(("all", speeds.all))
    columns = [(f"{title} ({speed.ranks})", speed) for title, speed in columns if speed]
    if not columns:
        return []

    def line(text_of):
        return "".join(f"{text_of(title, speed):<24}" for title, speed in columns).rstrip()

    return [
        ("ranks measured", line(lambda title, _: title)),
        ("one way, 8 B", line(lambda _, speed: _time(speed.ping_s))),
        ("one way, 4 MiB", line(lambda _, speed: _rate(speed.ping_bytes_per_s))),
        ("all-reduce, 8 B", line(lambda _, speed: _time(speed.allreduce_s))),
        ("all-reduce, 4 MiB", line(lambda _, speed: _rate(speed.allreduce_bytes_per_s))),
        ("all-to-all, 4 MiB", line(lambda _, speed: f"{_rate(speed.alltoall_bytes_per_s)} sent by each")),
    ]


def _time(seconds):
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"


def _rate(bytes_per_s):
    return f"{bytes_per_s / 1e9:.2f} GB/s" if bytes_per_s >= 1e9 else f"{bytes_per_s / 1e6:.0f} MB/s"


def _range(numbers):
    numbers = sorted(numbers)
    return str(numbers[0]) if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"


def _count(number, one, several=None):
    return f"{number} {one if number == 1 else several or one + 's'}"
