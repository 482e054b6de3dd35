"""`deshpc submit`: a Slurm job script for a configuration, with ranks, threads and memory by the plan, that goes on when its time is up."""

import math
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from deshpc.config import load
from deshpc.errors import ConfigError, LaunchError

_RANKS = (1, 2, 4)
_BASE_GIB, _SPARE = 1.0, 1.5  # of a rank: Python, kernels, MPI; and of what a plan foresees
_OPTIONS = {"mpich": "--mpi=pmi2", "openmpi": "--mpi=pmix", "site": ""}
_LIBRARIES = {"Open MPI": "openmpi", "MPICH": "mpich"}
_ASK_S = 20.0

_SCRIPT = """\
#!/usr/bin/env bash
# {command}
# {why}
# A job whose time is nearly up, or that is preempted, writes a checkpoint, goes back into the queue, and goes on from there.
#SBATCH --job-name={name}
#SBATCH --output={name}-%j.out
#SBATCH --open-mode=append
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node={ranks}
#SBATCH --cpus-per-task={threads}
#SBATCH --mem={memory}G
#SBATCH --time={time}
#SBATCH --requeue
#SBATCH --signal=B:USR1@180
{more}set -euo pipefail
export PATH={path}:"$PATH"
export SLURM_KILL_BAD_EXIT=1 SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"

signalled="" pid="" code=0
pass_on() {{ signalled=yes; [ -z "$pid" ] || kill -USR1 "$pid" 2>/dev/null || true; }}
trap pass_on USR1 TERM

{start} deshpc train {arguments} --set "run.directory={run}" --resume &
pid=$!
while :; do  # a signal ends the wait, not what is waited for
    code=0
    wait "$pid" || code=$?
    kill -0 "$pid" 2>/dev/null || break
done
# A node that is lost ends the ranks before Slurm gives it up, so it is asked here by a step on every node.  Where not even one on this node
# starts, it is srun that does not work.  2, 3, 4: what would be as wrong the next time.
starts_on() {{
    timeout 60 srun --overlap --mpi=none --nodes="$1" --ntasks="$1" --cpus-per-task=1 "${{@:2}}" true >/dev/null 2>&1
}}
a_node_is_lost() {{
    ! starts_on "$SLURM_JOB_NUM_NODES" && starts_on 1 --nodelist="$SLURMD_NODENAME"
}}
case $code in
75) again=yes ;;  # behind a checkpoint
0 | 2 | 3 | 4) again="" ;;
*) again=$signalled; [ -n "$again" ] || ! a_node_is_lost || again=yes ;;
esac
if [ -n "$again" ]; then
    [ "${{SLURM_RESTART_COUNT:-0}}" -lt 100 ] || exit 1
    scontrol requeue "$SLURM_JOB_ID"
    sleep 60
fi
exit "$code"
"""


def submit(options):
    """Write a job script by the options of the command line, and submit it; what happened, as text.

    With options.dry_run the script itself, and nothing is done.  ConfigError for what cannot be, LaunchError where Slurm refuses.
    """
    name = re.sub(r"[^\w.-]", "-", Path(options.config).stem)
    script = script_of(options, name)
    if options.dry_run:
        return script.rstrip("\n")
    if shutil.which("sbatch") is None:
        raise LaunchError("deshpc submit: there is no sbatch here: run it where jobs are submitted, or take the script that --dry-run prints")
    out = Path(options.out or Path("runs") / f"{name}.sbatch")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(script, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror}") from None
    done = subprocess.run(["sbatch", "--parsable", str(out)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise LaunchError(f"{out}: sbatch refuses it: {done.stderr.strip()}")
    job = done.stdout.strip().partition(";")[0]
    return f"job {job}, by {out}; its run is in runs/{name}-{job}: deshpc runs runs; output: {name}-{job}.out"


def script_of(options, name):
    """The job script, as text.  ConfigError where cores are not known, or the nodes have less memory than the plan needs."""
    config = load(options.config, options.overrides, options.allow_import)
    cores, node_gib = _node(options)
    least, most = _nodes(options.nodes)
    ranks, threads, best, why = _planned(config, options, cores, least, most)
    needed = ranks * (_BASE_GIB + _SPARE * best.memory * (2 if config.checkpoint.background else 1) / 2**30)
    needed += _data_gib(config)
    if node_gib is not None and needed > node_gib and options.memory is None:
        raise ConfigError(
            f"a node needs {needed:,.0f} GiB by the plan and has {node_gib:,.0f}: take more --nodes, checkpoint.background = false, or say --memory"
        )
    given = [options.config, *(word for text in options.overrides for word in ("--set", text))]
    given += [word for text in options.allow_import for word in ("--allow-import", text)]
    partition = "".join(f"#SBATCH --{one}={value}\n" for one, value in (("partition", options.partition), ("account", options.account)) if value)
    mpi = options.mpi or _mpi_here()
    if not any(text.startswith("checkpoint.every_") for text in options.overrides) and not (config.checkpoint.every_steps or config.checkpoint.every_minutes):
        given += ["--set", "checkpoint.every_minutes=30"]  # what a lost node costs
    return _SCRIPT.format(
        command=shlex.join(["deshpc", *options.given]), why=why, name=name, nodes=most if least == most else f"{least}-{most}", ranks=ranks, threads=threads,
        memory=math.ceil(needed if options.memory is None else options.memory), time=_time(options.time), more=partition,
        path=shlex.quote(str(Path(sys.executable).parent)), start=_start(options.launcher, mpi, threads),
        arguments=shlex.join(given), run=f"runs/{name}-$SLURM_JOB_ID",
    )  # fmt: skip


def _start(launcher, mpi, threads):
    """What starts the ranks of a job, as words of a shell."""
    if launcher == "srun":
        return " ".join(["srun", *([_OPTIONS[mpi]] if _OPTIONS[mpi] else [])])
    return 'mpiexec -n "$SLURM_NTASKS"' + (f" --map-by slot:PE={threads}" if mpi == "openmpi" else "")


def _nodes(text):
    """(least, most) of `--nodes`; ConfigError for what is neither a number nor a range."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise ConfigError(f"--nodes {text}: expected a number of nodes, such as 4, or a range, such as 2-4: with these a job that loses one goes on")
    return least, most


def _planned(config, options, cores, least, most):
    """(ranks of a node, threads of a rank, Option, why) of the best plan for the most nodes; its memory is that of the least."""
    from deshpc.cli.plan import workload_of
    from deshpc.planner.machine import Machine
    from deshpc.planner.plan import plan

    machine = Machine.from_file(options.machine) if options.machine else None
    workload = workload_of(config, options.profile)
    fixed = {one: getattr(config.train, one) for one in ("split", "exchange", "routing") if getattr(config.train, one) != "auto"}
    fixed["first_layer"] = config.model.first_layer
    tried = [options.ranks_per_node] if options.ranks_per_node else [one for one in _RANKS if cores % one == 0]
    if not 1 <= tried[0] <= cores:
        raise ConfigError(f"--ranks-per-node {tried[0]}: a node has {cores} cores, and a rank one at least")
    found = {r: plan(config, workload, r * most, most, machine, fixed, cores // r) for r in tried}
    if machine:
        ranks = min(found, key=lambda r: found[r].best.step_s)
    else:  # bytes say little about ranks of one node: two share a node's sockets
        ranks = tried[0] if len(tried) == 1 else min(2, tried[-1])
    fewest = found[ranks] if least == most else plan(config, workload, ranks * least, least, machine, fixed, cores // ranks)
    return ranks, cores // ranks, fewest.best, f"{ranks} ranks a node of {cores // ranks} threads; {found[ranks].why}"


def _node(options):
    """(cores, GiB or None) of a node: those given, or what Slurm says of the partition."""
    asked = _sinfo(options.partition)
    cores = options.cores or (asked and asked[0])
    if not cores:
        raise ConfigError("--cores: how many cores has a node?  There is no sinfo here that could tell")
    if cores < 1:
        raise ConfigError(f"--cores {cores}: a node has one at least")
    return cores, asked and asked[1]


def _sinfo(partition):
    """(cores, GiB) of the smallest node of a partition; None where there is no Slurm here."""
    if shutil.which("sinfo") is None:
        return None
    command = ["sinfo", "--noheader", "--format=%c %m", *([f"--partition={partition}"] if partition else [])]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, stdin=subprocess.DEVNULL).stdout
    except subprocess.TimeoutExpired:
        return None
    nodes = [tuple(map(int, re.findall(r"\d+", line)[:2])) for line in text.splitlines() if len(re.findall(r"\d+", line)) >= 2]
    return (min(c for c, _ in nodes), min(m for _, m in nodes) / 1024) if nodes else None


def _data_gib(config):
    """GiB of the data that a node holds: text is about as large in memory as on disk; a cache is mapped, and the system lets go of it."""
    if config.data.format == "cache":
        return 0.0
    if config.data.format == "synthetic":
        one = config.data.synthetic
        return (one.train_rows + one.valid_rows + one.test_rows) * 500 / 2**30
    paths = [found for part in ("train", "valid", "test") for pattern in getattr(config.data, part) for found in _files(Path(pattern))]
    packed = sum((5 if path.suffix in (".gz", ".zst", ".parquet") else 1) * path.stat().st_size for path in paths)
    return packed / 2**30


def _files(path):
    if path.is_dir():
        return [one for one in path.rglob("*") if one.is_file()]
    return [path] if path.is_file() else [one for one in path.parent.glob(path.name) if one.is_file()]


def _mpi_here():
    from deshpc.launch.library import load_library

    return _LIBRARIES.get(load_library().name, "site")


def _time(text):
    """Slurm's form of hours:minutes, which Slurm itself would take for minutes:seconds."""
    if found := re.fullmatch(r"(\d+):([0-5]?\d)", text):
        return f"{int(found[1]):02d}:{int(found[2]):02d}:00"
    if re.fullmatch(r"(\d+-)?\d+:[0-5]?\d:[0-5]?\d|\d+-\d+(:\d+)?", text):
        return text
    raise ConfigError(f"--time {text}: expected HOURS:MINUTES, such as 24:00, HOURS:MINUTES:SECONDS, or DAYS-HOURS")
