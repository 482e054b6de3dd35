"""The machines of examples/machines can be planned for, and say where their numbers come from."""

from pathlib import Path

import pytest

from deshpc.planner.machine import Machine
from deshpc.planner.work import Work

FILES = sorted((Path(__file__).parents[2] / "examples/machines").glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_machine_names_its_sources(path):
    machine = Machine.from_file(path)
    assert machine.name == path.stem and machine.nodes == 1
    assert ".com/" in machine.source and "deshpc probe" in machine.source
    assert 1e-7 < machine.between.latency_s < 1e-3 and 1e7 < machine.between.bytes_per_s < 1e11
    assert set(machine.seconds) <= set(Work._fields)


def test_there_are_some():
    assert len(FILES) >= 3
