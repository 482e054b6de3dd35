"""The ledger against the kernel's network counters, between pretended hosts (scripts/check_wire_bytes.py)."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_ledger_equals_formula_and_agrees_with_the_network_counters(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    from pretended_hosts import missing

    if not (Path(sys.executable).parent / "mpiexec").exists():
        pytest.skip("no mpiexec beside this Python")
    if reason := missing():
        pytest.skip(f"pretended hosts: {reason}")
    done = subprocess.run(
        [sys.executable, SCRIPTS / "check_wire_bytes.py", "--ranks", "4"], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
