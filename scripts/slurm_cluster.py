#!/usr/bin/env python3
"""A real Slurm on one Linux machine, with several pretended nodes, for trying job scripts and testing launches.

    python scripts/slurm_cluster.py [--nodes 2] [--cores 2] [--gpus 0] [COMMAND ...]      as root; default: a shell

Runs COMMAND with the cluster up, then takes it down.  Needs root and Slurm with munge (Debian: slurm-wlm, munge);
neither systemd nor cgroups.  Configuration, keys and logs lie in a temporary folder.  Every node has its own host
name, processes and /dev/shm, and claims the machine's first cores.  GPUs are pretended device files.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
_PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "sbatch", "unshare", "setpriv")

_SLURM_CONF = """
ClusterName=pretended
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
KillWait=2
SlurmdTimeout={node_timeout_s}
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
TmpFS={folder}/tmp.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """Why Slurm cannot be run here, or None."""
    if not sys.platform.startswith("linux"):
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root, to pretend nodes"
    absent = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if absent:
        return f"needs {', '.join(absent)} (Debian: slurm-wlm, munge, util-linux)"
    if subprocess.run(["unshare", "--uts", "--mount", "--pid", "--fork", "true"], capture_output=True).returncode:
        return "cannot make namespaces here"
    return None


class SlurmCluster:
    """`nodes` pretended nodes n1, n2, ... with so many cores and GPUs each, up inside a `with` block.

    node_timeout_s : after which a node that does not answer is down, and its jobs are ended, or queued again
    environment : what srun, sbatch and squeue need in order to find this cluster
    """

    def __init__(self, nodes=2, cores=2, gpus=0, node_timeout_s=300):
        self.nodes, self.cores, self.gpus, self._node_timeout_s = nodes, cores, gpus, node_timeout_s
        self.folder, self._daemons, self._of_nodes = None, [], {}

    @property
    def environment(self):
        outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        here = {
            "PATH": _PATH,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "TMPDIR": str(self.folder),  # launchers leave folders there
            "MPIR_CVAR_CH4_NETMOD": "ofi",  # MPICH's UCX now and then fails to start between pretended nodes
        }
        return {**outside, **here}

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        try:
            self._configure()
            self._start("munged", "--foreground", "--force", *self._munge_files())
            self._wait_for((self.folder / "munge.socket").exists, "munged")
            self._start("slurmctld", "-D")
            for node in self._names():
                self._start_node(node)
            self._wait_for(self._all_idle, "the nodes")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *problem):
        self._ask("scontrol", "shutdown")
        for daemon in reversed(self._daemons):  # munged last: the others need it to go in peace
            if daemon is self._daemons[0]:
                daemon.terminate()
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        shutil.rmtree(self.folder)

    def _names(self):
        return [f"n{k}" for k in range(1, self.nodes + 1)]

    def _configure(self):
        ports, gpus = _free_ports(self.nodes + 1), f" Gres=gpu:{self.gpus}" if self.gpus else ""
        nodes = [
            f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs={self.cores} RealMemory=4000" + gpus
            for name, port in zip(self._names(), ports[1:], strict=True)
        ]
        text = _SLURM_CONF.format(
            host=socket.gethostname(), folder=self.folder, node_timeout_s=self._node_timeout_s, control_port=ports[0], nodes="\n".join(nodes)
        )
        (self.folder / "slurm.conf").write_text(text, encoding="utf-8")
        (self.folder / "state").mkdir()
        devices = [self.folder / f"gpu{i}" for i in range(self.gpus)]
        for device in devices:
            os.mknod(device, 0o20666, os.makedev(1, 3))  # behaves like /dev/null
        lines = [f"Name=gpu File={device}\n" for device in devices]
        (self.folder / "gres.conf").write_text("".join(lines), encoding="utf-8")
        hosts = "127.0.0.1 localhost " + " ".join([socket.gethostname(), *self._names()])
        (self.folder / "hosts").write_text(f"{hosts}\n", encoding="utf-8")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)

    def _munge_files(self):
        names = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "seed-file": "munge.seed"}
        return [f"--{option}={self.folder / name}" for option, name in names.items()]

    def _start_node(self, name):
        for part in ("spool", "tmp"):  # PMIx keeps files there, which must not collide
            (self.folder / f"{part}.{name}").mkdir(exist_ok=True)
        inside = (
            'echo "$2" > /proc/sys/kernel/ns_last_pid; hostname "$0" && mount -t tmpfs -o size=1g tmpfs /dev/shm && '
            'mount --bind "$1" /etc/hosts && exec slurmd -D -N "$0"'
        )
        namespaces = ("--uts", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc")
        first_process = str(1000 * len(self._daemons))  # other numbers on every node: they name files of PMIx, too
        self._start("unshare", *namespaces, "/bin/sh", "-c", inside, name, str(self.folder / "hosts"), first_process)
        self._of_nodes[name] = self._daemons[-1]

    def lose(self, name):
        """Kill a node's daemon and everything that runs there, as if its power had gone."""
        self._of_nodes[name].kill()

    def bring_back(self, name):
        """Start a node that was lost again, and wait until Slurm has it."""
        self._daemons.remove(self._of_nodes[name])
        self._start_node(name)
        self._ask("scontrol", "update", f"NodeName={name}", "State=RESUME")
        self._wait_for(self._all_idle, "the nodes", 60)

    def _start(self, *command):
        """Start a daemon; it dies with this process, and a node's processes die with the node's daemon."""
        log = (self.folder / "daemons.log").open("a", encoding="utf-8")
        with log:
            self._daemons.append(subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command], env=self.environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            ))  # fmt: skip

    def _all_idle(self):
        return self._ask("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == str(self.nodes)

    def _ask(self, *command):
        try:
            return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=10).stdout
        except subprocess.TimeoutExpired:
            return ""

    def _wait_for(self, ready, what, limit_s=30):
        end = time.monotonic() + limit_s
        while not ready():
            if time.monotonic() > end or any(daemon.poll() is not None for daemon in self._daemons):
                logs = "".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("*.log")))
                raise RuntimeError(f"{what} did not come up:\n{logs}")
            time.sleep(0.1)


def _free_ports(count):
    """`count` ports on which nobody listens now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cores", type=int, default=2, help="of each node")
    parser.add_argument("--gpus", type=int, default=0, help="of each node")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    options = parser.parse_args()
    if missing():
        sys.exit(f"slurm_cluster: {missing()}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # take it down, whatever ends this
    with SlurmCluster(options.nodes, options.cores, options.gpus) as cluster:
        command = options.command or [os.environ.get("SHELL", "/bin/sh")]
        sys.exit(subprocess.run(command, env=cluster.environment).returncode)


if __name__ == "__main__":
    main()
