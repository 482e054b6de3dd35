"""Write versions that are known to go together: scripts/constraints/3.13.txt for Python 3.13, and so on, and lowest.txt.

    python scripts/constraints.py [PYTHON ...]     for these interpreters, by default python3.10 ... python3.13 as far as they are there

An interpreter's file has what pip finds for it today, of everything that pyproject.toml names.  lowest.txt has the lowest versions that
pyproject.toml allows of what it names itself.  `scripts/environment.sh` uses them.  The first line of a file has a digest of what pyproject.toml asked
for when it was made: `tests/test_constraints.py` says when that has changed.
"""

import hashlib
import json
import os
import re
import shutil
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
EXTRAS = "mpich,openmpi,cuda,test"
LOWEST = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?>=([0-9.]+)")


def asked():
    """[requirement] of pyproject.toml, of the package and all of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]


def first_line():
    """Of a file that fits pyproject.toml."""
    digest = hashlib.sha256("\n".join(asked()).encode()).hexdigest()[:16]
    return f"# Made by scripts/constraints.py of requirements {digest}"


def lowest():
    """["name==version"]: the lowest versions that pyproject.toml allows of what it names."""
    found = {}
    for one in asked():
        if match := LOWEST.match(one):
            found[match[1]] = f"{match[1]}=={match[2]}"
    return sorted(found.values())


def resolved(python):
    """(version of Python, ["name==version"]) of what pip would install for an interpreter; nothing is installed."""
    version = subprocess.run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "venv", f"{folder}/env"], check=True)
        pip = [f"{folder}/env/bin/python", "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip"], check=True)  # old ones load whole files to read their requirements
        subprocess.run([*pip, "install", "--quiet", "--dry-run", "--ignore-installed", "--report", f"{folder}/report.json", f"{ROOT}[{EXTRAS}]"], check=True)
        report = json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))
    names = [one["metadata"] for one in report["install"] if one["metadata"]["name"] != "deshpc"]
    return version, sorted(f"{one['name'].lower().replace('_', '-')}=={one['version']}" for one in names)


def write(name, lines):
    """A file of constraints, whole or not at all."""
    FOLDER.mkdir(exist_ok=True)
    path, new = FOLDER / f"{name}.txt", FOLDER / f"{name}.new"
    new.write_text("\n".join([first_line(), *lines, ""]), encoding="utf-8")
    os.replace(new, path)
    print(f"{path.relative_to(ROOT)}: {len(lines)} packages")


def main(pythons):
    write("lowest", lowest())
    for python in pythons or filter(shutil.which, (f"python3.{minor}" for minor in range(10, 14))):
        write(*resolved(python))


if __name__ == "__main__":
    main(sys.argv[1:])
