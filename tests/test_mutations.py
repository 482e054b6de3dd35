"""The bugs that scripts/mutate.py plants: each has its place in the code as it is, and a room of its own."""

import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

ROOT = Path(__file__).resolve().parents[1]
BUGS = tomllib.loads((ROOT / "scripts" / "mutations.toml").read_text(encoding="utf-8"))["bug"]


@pytest.mark.parametrize("bug", BUGS, ids=[bug["file"] for bug in BUGS])
def test_a_bug_has_its_place(bug):
    assert (ROOT / bug["file"]).read_text(encoding="utf-8").count(bug["old"]) == 1
    assert bug["new"] != bug["old"]


def test_twenty_bugs_are_in_twenty_rooms():
    rooms = Counter(bug["file"].removeprefix("src/deshpc/").split("/")[0] for bug in BUGS)
    assert len(rooms) == len(BUGS) == 20
