"""docs/mistakes.md: every command is answered as its table says, in one line that holds no traceback."""

import bz2
import re
import shlex
from pathlib import Path

import pytest
from launching import run

TEXT = (Path(__file__).parents[2] / "docs" / "mistakes.md").read_text(encoding="utf-8")
TABLE = re.findall(r"^\| ([^|`]+) \| `(deshpc [^`]+)` \| `([^|]+)` \|$", TEXT, re.M)
CONFIG = re.search(r"```toml\n(.*?)```", TEXT, re.S)[1]
ROWS = [(i % 9, i % 5, round(i * 0.37 % 9, 2), i * i % 7 == 1) for i in range(60)]


def lines(separator=",", header=True, label=int):
    found = [separator.join(("user", "item", "price", "click"))] * header
    return found + [separator.join(map(str, (user, item, price, label(clicked)))) for user, item, price, clicked in ROWS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    texts = {
        "clicks": lines(), "semicolons": lines(";"), "bare": lines(header=False), "zeros": lines(label=lambda clicked: 0),
        "floats": [lines()[0], *(f"{user}.0,{item},{price},{int(clicked)}" for user, item, price, clicked in ROWS)],
        "words": lines(label=lambda clicked: "buy" if clicked else "leave"), "na": [*lines()[:3], "1,2,NA,1"],
        "weights": ["user,item,price,click,weight", "1,2,3,1,0", "1,2,3,0,-1"],
        "stars": lines(label=lambda clicked: 3 + clicked),
    }  # fmt: skip
    for name, found in texts.items():
        (folder / f"{name}.csv").write_text("\n".join(found) + "\n", encoding="utf-8")
    whole = (folder / "clicks.csv").read_text(encoding="utf-8")
    (folder / "wide.csv").write_text(whole, encoding="utf-16")
    (folder / "clicks.csv.bz2").write_bytes(bz2.compress(whole.encode()))
    (folder / "click.toml").write_text(CONFIG, encoding="utf-8")
    done = run("-m", "deshpc", "train", "click.toml", "--set", "run.directory=trained", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_table_is_there():
    assert len(TABLE) == TEXT.count("| `deshpc ") >= 17


@pytest.mark.thorough(10)
@pytest.mark.parametrize("mistake, command, answer", TABLE, ids=[mistake for mistake, *_ in TABLE])
def test_the_answer_to_a_mistake(folder, mistake, command, answer):
    done = run("-m", *shlex.split(command), cwd=folder)
    assert (done.returncode == 0) == ("warning" in answer)
    found = [line for line in done.stderr.splitlines() if answer in line]
    assert len(found) == 1, done.stderr
    assert "Traceback" not in done.stderr
