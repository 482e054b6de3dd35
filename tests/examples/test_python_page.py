"""docs/python.md: all its examples, one after the other, in an empty folder."""

import re
from pathlib import Path

import deshpc

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


def test_every_example_runs(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 10 == len(re.findall(r"^```\w", PAGE, re.MULTILINE))
    names = {}
    for block in blocks:
        exec(compile(block, f"docs/python.md: {block[:40]!r}", "exec"), names)
    told = capfd.readouterr().err
    (note,) = re.findall(r"^# (deshpc: note: data\.fields: .*), \.\.\.$", PAGE, re.MULTILINE)
    assert note in told
    assert names["best"].auc > 0.6 and len(names["p"]) == 500 and 0 < names["model"].best_epoch_ <= 30


def test_what_is_listed_is_exported():
    table = PAGE.partition("|---|---|\n")[2].partition("\n\n")[0]
    first_cells = " ".join(line.split("|")[1] for line in table.splitlines())
    assert {*re.findall(r"`(?:deshpc\.)?(\w+)`", first_cells)} == {*deshpc.__all__}
