"""JSON text that any reader takes: what is not finite is null, everything else is as Python's json has it."""

import ast
import json
from pathlib import Path

import pytest

import deshpc
from deshpc.storage.strict_json import json_text
from deshpc.training.record import Record


def strictly(text):
    """The thing that a text says, by a reader that refuses NaN and Infinity."""

    def refuse(word):
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_null(value):
    thing = {"a": value, "b": [1, value, (2.5, {"c": value})], "d": "NaN", "e": 1e308, "f": None, "g": True}
    assert strictly(json_text(thing)) == {"a": None, "b": [1, None, [2.5, {"c": None}]], "d": "NaN", "e": 1e308, "f": None, "g": True}
    assert json_text(value, indent=1) == "null"


def test_other_text_is_as_before():
    thing = {"a": [1.5, "é", None, {"b": 2**60}], "c": {}}
    for how in ({}, {"indent": 1}, {"sort_keys": True}):
        assert json_text(thing, **how) == json.dumps(thing, **how)
    with pytest.raises(TypeError):
        json_text({"a": object()})


def test_the_record(tmp_path):
    record = Record(tmp_path)
    record.write("progress", loss=float("inf"), auc=None)
    record.close()
    assert strictly((tmp_path / "record.jsonl").read_text())["loss"] is None


def test_nothing_else_in_the_package_writes_json_with_numbers():
    """TOML's strings, a digest of ranks, lists of paths, words and places, and what was parsed are not JSON that anybody reads."""
    innocent = {
        "storage/strict_json.py", "cli/toml.py", "launch/agreement.py", "training/api.py", "training/resume.py", "storage/json_form.py",
        "formats/header.py", "comm/cuda_probe.py",
    }  # fmt: skip
    package, found = Path(deshpc.__file__).parent, set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("dump", "dumps") and getattr(node.value, "id", "") == "json":
                found.add(path.relative_to(package).as_posix())
    assert found <= innocent
