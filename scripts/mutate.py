"""Plant the bugs of scripts/mutations.toml, one at a time, in a copy of the tree, and see that a test fails.

    python scripts/mutate.py                  by the quick tests
    python scripts/mutate.py --tests all      by all tests
    python scripts/mutate.py --only FILE ...  those of some files;  --list: say what they are, and plant none

The tests that concern a file (`run_tests.py --since`) come first, then all others, until one fails: serially, then on 2, 3 and 4 ranks.
Exit code 1 where the quick tests miss more than one bug in twenty, or all tests miss any.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from run_tests import NO_TESTS, ROOT, concerned_by, launch

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BUGS = tomllib.loads(Path(__file__).with_name("mutations.toml").read_text(encoding="utf-8"))["bug"]
ENDS_WITHIN_S = 1800  # what does not end by then has been noticed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", choices=("quick", "all"), default="quick")
    parser.add_argument("--only", nargs="+", metavar="FILE", help="bugs of these files")
    parser.add_argument("--list", action="store_true", help="say which bugs there are")
    options = parser.parse_args()
    bugs = [bug for bug in BUGS if not options.only or bug["file"] in options.only]
    if options.list:
        print(*(f"{bug['file']}: {bug['what']}" for bug in bugs), sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="deshpc-mutate-") as folder:
        tree = Tree(Path(folder), ["--quick"] if options.tests == "quick" else [])
        missed = [bug for bug in bugs if not found(tree, bug)]
    print(f"{len(bugs) - len(missed)} of {len(bugs)} bugs found by the {options.tests} tests")
    for bug in missed:
        print(f"MISSED {bug['file']}: {bug['what']}")
    return int(len(missed) > (len(bugs) // 20 if options.tests == "quick" else 0))


def found(tree, bug):
    """Whether a test fails with a bug; says which."""
    begin = time.monotonic()
    with tree.changed(bug["file"], bug["old"], bug["new"]):
        test, again = tree.failing(bug["file"])
    if again and again():
        raise SystemExit(f"{test}: fails without the bug, too")
    print(f"{'found' if test else 'MISSED'} {bug['file']}: {bug['what']}: {time.monotonic() - begin:.0f} s, {test}", flush=True)
    return test is not None


class Tree:
    """A copy of what git would commit, whose compiled functions are kept from one bug to the next."""

    def __init__(self, folder, chosen):
        """chosen : options of pytest"""
        self._root, self._chosen = folder / "tree", chosen
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
        for name in listed.stdout.decode().split("\0"):
            if (ROOT / name).is_file() or (ROOT / name).is_symlink():
                (self._root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self._root / name, follow_symlinks=False)
        package = self._root / "src" / "deshpc"
        self._environment = {**os.environ, "PYTHONPATH": str(package.parent), "XDG_CACHE_HOME": str(folder / "cache")}

    def changed(self, file, old, new):
        """A context in which `new` stands for `old` in a file."""
        return Changed(self._root / file, old, new)

    def failing(self, file):
        """(The first test that fails, of those that concern a file and then of all others, function that tries its file again); (None, None)."""
        tests = sorted(str(path.relative_to(self._root)) for path in (self._root / "tests").rglob("test_*.py"))
        first = concerned_by([Path(file)])
        for paths in (first, [path for path in tests if path not in first]):
            for ranks in (1, 2, 3, 4) if paths else ():
                name = self._failing(paths, ranks)
                if name:
                    return f"{name} ({ranks} ranks)", partial(self._failing, [name.split("::")[0]] if "::" in name else paths, ranks)
        return None, None

    def _failing(self, paths, ranks):
        start = [*launch(), "-n", str(ranks)] if ranks > 1 else []
        command = [*start, sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *self._chosen, *paths]
        try:
            done = subprocess.run(
                command, cwd=self._root, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, timeout=ENDS_WITHIN_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "no end"
        if done.returncode in (0, NO_TESTS):
            return None
        found = re.search(r"(?:^(?:FAILED|ERROR)| failed: (?:collecting )?)\s?(tests/.+?)(?: - .*| \(\w+\))?$", done.stdout, re.MULTILINE)
        return found[1] if found else done.stdout[-300:]


class Changed:
    """A file with other text, and as it was afterwards, its time included: what is compiled of it then counts again."""

    def __init__(self, path, old, new):
        self._path, self._old, self._new = path, old, new

    def __enter__(self):
        self._text, self._time = self._path.read_text(encoding="utf-8"), self._path.stat().st_mtime_ns
        if self._text.count(self._old) != 1:
            raise SystemExit(f"{self._path}: the text of a bug stands there {self._text.count(self._old)} times: bring scripts/mutations.toml up to date")
        self._path.write_text(self._text.replace(self._old, self._new), encoding="utf-8")

    def __exit__(self, *exception):
        self._path.write_text(self._text, encoding="utf-8")
        os.utime(self._path, ns=(self._time, self._time))


if __name__ == "__main__":
    sys.exit(main())
