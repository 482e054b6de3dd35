#!/usr/bin/env python3
"""Several pretended hosts on one Linux machine: network namespaces behind a switch, for measuring what crosses a network.

    with PretendedHosts(4) as hosts:
        hosts.mpiexec(ranks_per_host=1, command=["python", "worker.py"])

Needs root and iproute2 (`ip`).  Each host has its own network (eth0, 10.77.0.K), host name and /dev/shm.  Run as a
program, it stands in for ssh: mpiexec calls it with a host and a command.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NETWORK = "10.77.0"
TAG = "deshpc"


def missing():
    """Why pretended hosts cannot be made here, or None."""
    if os.name != "posix" or not sys.platform.startswith("linux"):
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    absent = [name for name in ("ip", "unshare") if shutil.which(name) is None]
    if absent:
        return f"needs {' and '.join(absent)} (iproute2, util-linux)"
    probe = subprocess.run(["ip", "netns", "add", f"{TAG}probe"], capture_output=True, text=True)
    if probe.returncode:
        return f"cannot make a network namespace: {probe.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", f"{TAG}probe"], check=True)
    return None


class PretendedHosts:
    """`count` hosts, up inside a `with` block; rate_mbit: cap of each link, both ways (None: as fast as the CPU)."""

    def __init__(self, count, rate_mbit=None):
        self.count, self._rate_mbit = count, rate_mbit

    @property
    def address(self):
        """Of the first host."""
        return f"{NETWORK}.1"

    def __enter__(self):
        self._remove()
        self._ip("netns", "add", f"{TAG}switch")
        for name in (f"{TAG}switch", *self._names()):
            if name != f"{TAG}switch":
                self._ip("netns", "add", name)
            self._ip("-n", name, "link", "set", "lo", "up")
        switch = ("-n", f"{TAG}switch")
        self._ip(*switch, "link", "add", "br0", "type", "bridge")
        self._ip(*switch, "addr", "add", f"{NETWORK}.254/24", "dev", "br0")
        self._ip(*switch, "link", "set", "br0", "up")
        for k, name in enumerate(self._names(), start=1):
            self._ip("link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", f"p{k}", "netns", f"{TAG}switch")
            self._ip("-n", name, "addr", "add", f"{NETWORK}.{k}/24", "dev", "eth0")
            self._ip("-n", name, "link", "set", "eth0", "up")
            self._ip(*switch, "link", "set", f"p{k}", "master", "br0")
            self._ip(*switch, "link", "set", f"p{k}", "up")
            if self._rate_mbit:
                self._cap(name, "eth0")
                self._cap(f"{TAG}switch", f"p{k}")
        return self

    def __exit__(self, *problem):
        self._remove()

    def mpiexec(self, ranks_per_host, command, launcher, timeout_s=300):
        """Run one MPICH job over TCP between the hosts; returns its standard output."""
        hosts = ",".join(f"{NETWORK}.{k}:{ranks_per_host}" for k in range(1, self.count + 1))
        environment = dict(
            os.environ, UCX_TLS="tcp,self", UCX_NET_DEVICES="eth0", FI_PROVIDER="tcp", FI_TCP_IFACE="eth0",
            MPIR_CVAR_CH4_NETMOD="ofi",
        )  # fmt: skip
        done = subprocess.run(
            ["ip", "netns", "exec", f"{TAG}switch", str(launcher), "-iface", "br0", "-launcher", "ssh",
             "-launcher-exec", str(Path(__file__).resolve()), "-hosts", hosts,
             "-n", str(ranks_per_host * self.count), *map(str, command)],
            env=environment, stdout=subprocess.PIPE, text=True, timeout=timeout_s, check=True,
        )  # fmt: skip
        return done.stdout

    def _names(self):
        return [f"{TAG}{k}" for k in range(1, self.count + 1)]

    def _cap(self, host, device):
        """Limit what a device sends; the burst is a millisecond's worth, at least one large segment and a bit."""
        burst = max(131_072, self._rate_mbit * 125)
        limit = ["tbf", "rate", f"{self._rate_mbit}mbit", "burst", str(burst), "latency", "20ms"]
        self._ip("netns", "exec", host, "tc", "qdisc", "add", "dev", device, "root", *limit)

    def _ip(self, *arguments):
        subprocess.run(["ip", *arguments], check=True)

    def _remove(self):
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines():
            name = line.split()[0] if line.split() else ""
            if name.startswith(TAG):
                self._ip("netns", "del", name)


def _as_ssh(arguments):
    """Run the command on the pretended host, as `ssh [-options] HOST COMMAND ...` would."""
    while arguments and arguments[0].startswith("-"):
        arguments = arguments[1:]
    name = TAG + arguments[0].rsplit(".", 1)[1]
    shell = f"hostname {name}; mount -t tmpfs -o size=1g tmpfs /dev/shm; {' '.join(arguments[1:])}"
    os.execvp("ip", ["ip", "netns", "exec", name, "unshare", "--uts", "--mount", "/bin/sh", "-c", shell])


if __name__ == "__main__":
    _as_ssh(sys.argv[1:])
