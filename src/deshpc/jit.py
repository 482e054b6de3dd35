"""One way to compile a hot loop: `@kernel`, a Numba function cached on disk.

Numba's own on-disk cache notices an edit of the file that holds a function, but not of a function or a constant that
it takes from another file: the old machine code would run.  So the cache folder is named by a digest of all modules
of every layer that holds kernels; an edit of any of them starts a new folder.

Nor is it made for two processes that compile one function for different types at the same time: both choose the same file for
their machine code, and the index may then name one's types with the other's code, for good.  So each process has file names of
its own; at worst the index forgets an entry, which is compiled again.

The cache only saves time: where the disk is full, the folder cannot be written, or a file there is damaged, kernels are compiled
again, and `cache_problem` says why.

Kernels release the GIL (threads of one rank run them side by side) and divide as NumPy does.
"""

import hashlib
import os
import re
import tempfile
import uuid
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import numba
from numba.core import event

_PACKAGE = Path(__file__).parent
_USES = re.compile(rb"from deshpc\.jit import [^\n]*\bkernel\b")


def kernel_sources():
    """Every module of the layers (top-level folders) that define kernels, in a fixed order."""
    paths = sorted(_PACKAGE.rglob("*.py"))
    layers = {_layer(path) for path in paths if _USES.search(path.read_bytes())}
    return [path for path in paths if _layer(path) in layers]


def _layer(path):
    return path.relative_to(_PACKAGE).parts[0]


def source_digest():
    """Hexadecimal digest of the kernel sources and of this file."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in kernel_sources():
        digest.update(path.relative_to(_PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_directory():
    """Folder of the compiled kernels: in the user's cache (XDG_CACHE_HOME, else ~/.cache)."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "deshpc" / f"kernels-{_DIGEST}"


_DIGEST = source_digest()
_problems = []


def cache_problem():
    """Why compiled kernels cannot be kept, as far as this process knows, or ""."""
    return _folder_problem(cache_directory()) or "".join(_problems[:1])


@lru_cache
def _folder_problem(directory):
    """Numba would look for another folder, whose name says nothing of the sources."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        return f"{directory}: {error.strerror}"
    return ""


def kernel(function=None, *, inline=False):
    """Compile `function` at its first call for each set of argument types, and keep it on disk."""

    def decorate(python_function):
        if inline:  # the caller's cache holds it
            return numba.njit(nogil=True, error_model="numpy", inline="always")(python_function)
        if _folder_problem(cache_directory()):
            return numba.njit(nogil=True, error_model="numpy")(python_function)
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(cache_directory())  # read by Numba when the decorator runs
        try:
            compiled = numba.njit(cache=True, nogil=True, error_model="numpy")(python_function)
        finally:
            numba.config.CACHE_DIR = before
        name_files_apart(compiled)
        forgive_disk(compiled)
        return compiled

    return decorate if function is None else decorate(function)


@contextmanager
def at_first_compilation(task):
    """During a block, call task() when a function is compiled that is in no cache, once, in whichever thread has to do it."""
    with event.install_listener("numba:compile", _Once(task)):
        yield


class _Once(event.Listener):
    def __init__(self, task):
        self._tasks = [task]

    def on_start(self, event):
        with suppress(IndexError):  # another thread was faster
            self._tasks.pop()()

    def on_end(self, event):
        pass


_IMPORT = uuid.uuid4().hex[:12]


def name_files_apart(compiled):
    """Have this process, forks of it too, write a dispatcher's machine code to files that no other process writes to."""
    files = compiled._cache._cache_file
    stem = files._index_name.removesuffix(".nbi")
    files._data_name = lambda number: f"{stem}.{_IMPORT}-{os.getpid()}.{number}.nbc"


def forgive_disk(compiled):
    """Have a dispatcher go on without its cache where that cannot be read or written."""
    cache = compiled._cache
    load, save = cache.load_overload, cache.save_overload

    def load_overload(*arguments):
        try:
            return load(*arguments)
        except Exception:  # of a damaged file, unpickling raises anything
            with suppress(Exception):
                cache.flush()
            return None

    def save_overload(*arguments):
        try:
            save(*arguments)
        except OSError as error:
            _problems.append(f"{cache_directory()}: {error.strerror}")

    cache.load_overload, cache.save_overload = load_overload, save_overload
