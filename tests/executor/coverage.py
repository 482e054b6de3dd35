"""Which lines of the kernels have run, by gcov."""

import atexit
import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from executor.errors import ExecutorError

_modules = {}  # library: (its handle, notes, counts so far)
_folder = None


def register(module):
    """Count the lines of a module from now on."""
    global _folder
    if not _folder:
        _folder = Path(tempfile.mkdtemp(prefix="executor-coverage-"))
        os.environ["GCOV_PREFIX"] = str(_folder)  # where the counters of all modules are written
        atexit.register(_leave)
    _modules.setdefault(module.compiled.library, (module.library, module.compiled.notes, Counter()))


def of_module(module):
    """{(file, line): count} of one module; lines with code that has not run count 0."""
    if module.compiled.library not in _modules:
        raise ExecutorError(f"{module.name}: not compiled in coverage mode")
    return dict(_collect(*_modules[module.compiled.library]))


def coverage():
    """The sum over all modules of this process."""
    total = Counter()
    for module in _modules.values():
        for place, count in _collect(*module).items():
            total[place] += count
    return dict(total)


def _collect(library, notes, counts):
    library.executor_dump_coverage()
    library.executor_reset_coverage()
    written = list(_folder.rglob("*.gcda"))
    for path in written:
        with tempfile.TemporaryDirectory() as folder:
            shutil.move(path, Path(folder, "module.gcda"))
            shutil.copy(notes, Path(folder, "module.gcno"))
            done = subprocess.run(["gcov", "--json-format", "--stdout", "module.gcda"], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise ExecutorError(f"gcov: {done.stderr}")
        for report in done.stdout.splitlines():
            for file in json.loads(report)["files"]:
                if Path(file["file"]).is_absolute() or file["file"] == "exports":
                    continue  # the executor's own headers
                for line in file["lines"]:
                    counts[file["file"], line["line_number"]] += line["count"]
    return counts


def _leave():
    for library, _, _ in _modules.values():
        library.executor_dump_coverage()  # else the library writes its counters when the process ends
    shutil.rmtree(_folder, ignore_errors=True)
