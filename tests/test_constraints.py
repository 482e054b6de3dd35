"""The versions that are known to go together fit what pyproject.toml asks for, and no file of them is stale."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "scripts" / "constraints").glob("*.txt"))
BOUND = re.compile(r"(>=|<)([\d.]+)")


@pytest.fixture(scope="module")
def constraints():
    spec = importlib.util.spec_from_file_location("constraints", ROOT / "scripts" / "constraints.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins(path):
    """{package: version} of a file."""
    lines = [line.split(";")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return dict(line.split("==") for line in lines)


def numbers(version):
    return [int(number) for number in re.findall(r"\d+", version)]


def test_every_python_of_the_project_has_a_file():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    offered = set(re.findall(r"Python :: (3\.\d+)", text))
    assert {path.stem for path in FILES} == {*offered, "lowest"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_of_what_pyproject_asks_for_now(constraints, path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == constraints.first_line(), "stale: run python scripts/constraints.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_versions_keep_to_the_bounds(constraints, path):
    found = pins(path)
    assert len(found) > 100
    met = 0
    for asked in constraints.asked():
        name = re.match(r"[\w.-]+", asked)[0].lower()
        for sign, bound in BOUND.findall(asked.split(";")[0]):
            if name in found:
                above = numbers(found[name]) >= numbers(bound)
                assert above == (sign == ">="), f"{name}=={found[name]}, but pyproject.toml has {asked}"
                met += 1
    assert met > 20


def test_the_lowest_are_the_lowest(constraints):
    """Up to the last number, as 4.2.3 for >=4.2 where no 4.2.0 was published."""
    found = pins(ROOT / "scripts/constraints/lowest.txt")
    for asked in constraints.asked():
        name, bound = re.match(r"[\w.-]+", asked)[0].lower(), re.search(r">=([\d.]+)", asked)
        if bound and name in found:
            lowest = numbers(bound[1])
            assert numbers(found[name])[: max(len(lowest), 2)] == (lowest + [0])[: max(len(lowest), 2)], asked
