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
    command = [sys.executable, SCRIPTS / "check_wire_bytes.py", "--ranks", "4", "--short"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    for exchange in ("allreduce", "reduce_scatter", "rows"):
        assert f"fm  {exchange} " in done.stdout
    assert "% fewer" in done.stdout  # values of partials against rows on industrial data
