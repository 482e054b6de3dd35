"""Write versions that go together: scripts/constraints/3.13.txt for Python 3.13, and so on, and lowest.txt.

    python scripts/constraints.py

A Python's file has the newest of everything that pyproject.toml names, and of what that needs in turn.  lowest.txt has, for
the oldest Python, the lowest versions that pyproject.toml allows of what tests use.  `scripts/environment.sh` uses them.
The first line of a file has a digest of what pyproject.toml asked for when it was made: `tests/test_constraints.py` says
when that has changed.  uv resolves: it needs none of the Pythons, and is installed for this run alone.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "scripts" / "constraints"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
LOWEST = ["--resolution", "lowest-direct", "--extra", "mpich", "--extra", "test"]


def asked():
    """[requirement] of pyproject.toml, of the package and all of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    return [*project["dependencies"], *(one for extra in extras for one in extra)]


def first_line():
    """Of a file that fits pyproject.toml."""
    digest = hashlib.sha256("\n".join(asked()).encode()).hexdigest()[:16]
    return f"# Made by scripts/constraints.py of requirements {digest}"


def write(uv, name, python, options):
    """Write a file of constraints, whole or not at all."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.txt"
    command = [uv, "pip", "compile", "pyproject.toml", "--python-version", python, *options]
    command += ["--quiet", "--no-header", "--no-annotate", "--no-strip-markers"]
    pins = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    new = path.with_suffix(".new")
    new.write_text(f"{first_line()}\n{pins}", encoding="utf-8")
    os.replace(new, path)
    print(f"{path.relative_to(ROOT)}: {len(pins.splitlines())} packages")


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([f"{folder}/bin/python", "-m", "pip", "install", "--quiet", "uv"], check=True)
        uv = f"{folder}/bin/uv"
        write(uv, "lowest", PYTHONS[0], LOWEST)
        for python in PYTHONS:
            write(uv, python, python, ["--all-extras"])


if __name__ == "__main__":
    main()
