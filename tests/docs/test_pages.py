"""What the pages say is done: their commands run, their configurations are read, their Python is Python, and the site is built.

Every block of commands (`sh`) runs as it stands, those of a page in their order in one folder, unless a comment above it says otherwise:

    <!-- not run: WHY -->       it would install something, needs a GPU, a cluster, an hour
    <!-- parsed: WHY -->        a variation: the command line is taken apart, and nothing runs
    <!-- file: NAME -->         above any block: its text is a file of that name in the page's folder

    <!-- given: rows -->        anywhere: the folder has days/*.csv.gz, test.csv.gz and new.csv, a few rows of users, genres and prices
    <!-- given: a run -->       also click.toml, and runs/latest, a model that was trained by it

`mpiexec -n N` starts two ranks here, whatever N is.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from launching import MPIEXEC

from deshpc.cli.main import parser
from deshpc.config import load

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md"), ROOT / "kernels/README.md"])
BLOCK = re.compile(r"^(?:<!-- (?P<mark>(?:not run|parsed|file): [^>]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
GIVEN = re.compile(r"<!-- given: (.*) -->")
CLICK_TOML = """
[data]
train = "days/*.csv.gz"
test = "test.csv.gz"
label = "click"
fields = [{ name = "user" }, { name = "genres", kind = "multi" }, { name = "price", kind = "dense" }]
[model]
dim = 4
[train]
global_batch_samples = 100
[checkpoint]
every_steps = 1
"""


class Block:
    """A block of a page between three backquotes.  mark, why : of the comment above it, or ""."""

    def __init__(self, page, found):
        self.page, self.language, self.text = page, found["language"], found["text"]
        self.mark, _, self.why = (found["mark"] or "").partition(": ")
        self.name = f"{page.relative_to(ROOT)}:{page.read_text(encoding='utf-8').count(chr(10), 0, found.start('text'))}"


def blocks(*languages):
    found = [Block(page, match) for page in PAGES for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    return [block for block in found if not languages or block.language in languages]


def run(text, folder):
    """Run a block of commands in a folder as its reader would, in an environment with deshpc."""
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", text], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env={**os.environ, "PATH": f"{folder / '.bin'}:{os.environ['PATH']}", "HOME": str(folder), "XDG_CACHE_HOME": cache_home()},
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def cache_home():
    return os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")


def write_program(path, line):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


def with_programs(folder):
    """A folder in which `run` finds deshpc, Python and mpiexec."""
    write_program(folder / ".bin/deshpc", f'exec {sys.executable} -m deshpc "$@"')
    write_program(folder / ".bin/python", f'exec {sys.executable} "$@"')
    write_program(folder / ".bin/mpiexec", f'shift 2\nexec {MPIEXEC} -n 2 "$@"')
    return folder


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """{what pages take for granted: a folder that has it}."""
    rows, trained = tmp_path_factory.mktemp("rows"), tmp_path_factory.mktemp("trained")
    samples = [(i % 7, "|".join(["comedy", "drama", "news"][: i % 4]), i * 37 % 90 / 10, int(i * i % 5 == 1)) for i in range(400)]
    (rows / "days").mkdir()
    for name, cells, own in (("days/1.csv", 4, samples[:200]), ("days/2.csv", 4, samples[200:]), ("test.csv", 4, samples[::3]), ("new.csv", 3, samples[:9])):
        lines = [",".join(map(str, row[:cells])) for row in [("user", "genres", "price", "click"), *own]]
        (rows / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    with_programs(rows)
    run("gzip days/*.csv test.csv", rows)
    shutil.copytree(rows, trained, dirs_exist_ok=True)
    (trained / "click.toml").write_text(CLICK_TOML, encoding="utf-8")
    run("deshpc train click.toml", trained)
    return {"rows": rows, "a run": trained}


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.page == page and b.mark in ("", "file") for b in blocks("sh"))], ids=lambda page: page.stem)
def test_commands_run(page, tmp_path, given):
    folder = with_programs(tmp_path)
    if asked := GIVEN.search(page.read_text(encoding="utf-8")):
        shutil.copytree(given[asked[1]], folder, symlinks=True, dirs_exist_ok=True)
    for block in blocks():
        if block.page == page and block.mark == "file":
            (folder / block.why).write_text(block.text, encoding="utf-8")
        elif block.page == page and block.language == "sh" and not block.mark:
            if "mpiexec" in block.text and not MPIEXEC.exists():
                pytest.skip(f"no mpiexec beside {sys.executable}")
            run(block.text, folder)


def test_commands_that_do_not_run_are_right():
    """Every command of deshpc, whether it runs or not, is one that its parser takes."""
    found = 0
    for block in blocks("sh"):
        for line in block.text.splitlines():
            words = shlex.split(line, comments=True)
            if "deshpc" in words and (words[0] in ("deshpc", "mpiexec") or "=" in words[0]):
                parser().parse_args(words[words.index("deshpc") + 1 : words.index(">") if ">" in words else None])
                found += 1
    assert found >= 30


def test_options_that_a_text_names_are_those_of_its_command():
    """As in `deshpc plan --paper`: what stands between single backquotes need not be a whole command."""
    commands = next(action for action in parser()._actions if hasattr(action, "choices") and isinstance(action.choices, dict)).choices
    found = 0
    for page in PAGES:
        for text in re.findall(r"(?<!`)`(?:mpiexec -n \w+ )?deshpc ([a-z][^`]*)`(?!`)", BLOCK.sub("", page.read_text(encoding="utf-8"))):
            command, *words = shlex.split(text)
            named = {word.split("=")[0] for word in words if word.startswith("--")}
            assert command in commands and named <= set(commands[command]._option_string_actions), f"{page.name}: deshpc {text}"
            found += len(named)
    assert found >= 30


def test_marks_stand_above_blocks():
    """Elsewhere, or without a reason, they would say nothing."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert len(re.findall(r"^<!-- (?:not run|parsed|file)\b", text, re.M)) == sum(bool(block.mark) for block in blocks()) >= 10


def test_code_stands_between_backquotes():
    """Indented code would not be found."""
    for page in PAGES:
        rest = BLOCK.sub("", page.read_text(encoding="utf-8"))
        assert not re.findall(r"(?<=\n\n)    \S.*", re.sub(r"(?m)^(\s*([-*]|\d+\.) .*\n)(.+\n|\n(?=  ))*", "", rest)), page.name


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.name)
def test_configurations_are_read(block, tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(block.text, encoding="utf-8")
    rest = [] if "[data" in block.text else ["data.format=synthetic", "data.synthetic.valid_rows=9"]
    if not rest and not re.search(r"^(train|format) = ", block.text, re.M):
        rest += ["data.train=rows.csv", "data.valid=rows.csv"]
        rest += [] if "fields" in block.text else ['data.fields=[{name="user"}]']
    load(path, rest)


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.name)
def test_python_is_python(block):
    compile(block.text, block.name, "exec")


def test_the_site_is_built_without_a_warning(tmp_path):
    """Every link leads somewhere, every page is in the navigation, every docstring is well formed."""
    for module in ("sphinx", "myst_parser", "furo", "sphinx_copybutton"):
        pytest.importorskip(module, reason="the site is built by Sphinx: pip install 'deshpc[docs]'")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-c", "docs", "-d", tmp_path / "trees", ".", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "SOURCE_DATE_EPOCH": "0"})
    assert (done.returncode, done.stderr) == (0, "")
    options = (tmp_path / "site/docs/options.html").read_text(encoding="utf-8")
    assert 'id="option-train-epochs"' in options and "passes over the training rows" in options
    commands = (tmp_path / "site/docs/commands.html").read_text(encoding="utf-8")
    assert "go on from the newest checkpoint" in commands
    reference = (tmp_path / "site/docs/api.html").read_text(encoding="utf-8")
    assert re.search(r"<dt>.{0,80}check_bytes.{0,80}</dt>\s*<dd><p>a ledger that differs from the formula is an error", reference)
