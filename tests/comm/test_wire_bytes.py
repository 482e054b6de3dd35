"""Formula, ledger and the kernel's network counters agree, between pretended hosts (scripts/check_wire_bytes.py)."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_formula_ledger_and_network_counters_agree_for_every_exchange(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    from pretended_hosts import missing

    if not (Path(sys.executable).parent / "mpiexec").exists():
        pytest.skip("no mpiexec beside this Python")
    if reason := missing():
        pytest.skip(f"pretended hosts: {reason}")
    for hosts, per_host in ((4, 1), (2, 2)):
        command = [sys.executable, SCRIPTS / "check_wire_bytes.py", "--short", "--hosts", str(hosts), "--ranks-per-host", str(per_host)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        for exchange in ("allreduce", "reduce_scatter", "rows"):
            assert f"fm  {exchange} " in done.stdout
        assert ("% fewer" in done.stdout) == (hosts == 4)  # values of partials against rows on industrial data
