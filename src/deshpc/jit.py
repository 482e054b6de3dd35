"""One way to compile a hot loop: `@kernel`, a Numba function cached on disk.

Numba's own on-disk cache notices an edit of the file that holds a function, but not of a function or a constant that
it takes from another file: the old machine code would run.  So each module's kernels have a folder of their own, whose name has a digest
of the module and of all modules of the package that it imports, or that those import.  What arguments are made of counts, too: the modules of
their types, such as a named tuple whose class chooses a formula, are part of the key by which machine code is found.  So an edit, or a new
version, compiles what it can have changed, and wherever the package lies, equal sources share their machine code.

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
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path

import numba
from numba.core import caching, event

_PACKAGE = Path(__file__).parent
_IMPORTS = re.compile(rb"^ *(?:from (deshpc[\w.]*) import (\([^)]*\)|.*)|import (deshpc.*))", re.MULTILINE)
_OTHERS = ("numba", "numpy", "builtins")  # modules whose types do not change with the package


def _read_package():
    """{name: text} of all modules of the package."""
    texts = {}
    for folder, _, files in os.walk(_PACKAGE):
        inside = os.path.relpath(folder, _PACKAGE)
        parts = ["deshpc", *(() if inside == os.curdir else inside.split(os.sep))]
        for file in files:
            if file.endswith(".py"):
                with open(os.path.join(folder, file), "rb") as source:
                    name = file.removesuffix(".py")
                    texts[".".join(parts if name == "__init__" else [*parts, name])] = source.read()
    return texts


_TEXTS = _read_package()


def source_digest():
    """Hexadecimal digest of the sources of the whole package."""
    return _digest(_TEXTS)


def module_digest(*modules):
    """Hexadecimal digest of the sources that kernels of some modules can take code, constants or types from."""
    found, left = set(), [*modules]
    if any(module not in _TEXTS for module in modules):
        left += _TEXTS
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            left += _imported(module)
    return _digest(found)


def _digest(modules):
    digest = hashlib.sha256()
    for module in sorted(modules):
        digest.update(f"{module}\n{_text_digest(module)}\n".encode())
    return digest.hexdigest()[:16]


@cache
def _text_digest(module):
    return hashlib.sha256(_text(module)).hexdigest()


@cache
def _imported(module):
    """Modules of the package that a module imports, at its top or later."""
    named = []
    for package, names, modules in _IMPORTS.findall(_text(module)):
        named += re.findall(rb"deshpc[\w.]*", modules) if modules else [package, *(package + b"." + name for name in re.findall(rb"\w+", names))]
    return [name for name in map(bytes.decode, named) if name in _TEXTS]


def _text(module):
    """A module's source; of one that is not the package's, as far as there is a file."""
    if module in _TEXTS:
        return _TEXTS[module]
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file).read_bytes() if file else b""


def cache_directory():
    """Folder of the compiled kernels: in the user's cache (XDG_CACHE_HOME, else ~/.cache)."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "deshpc" / "kernels"


_problems = []


def cache_problem():
    """Why compiled kernels cannot be kept, as far as this process knows, or ""."""
    return _folder_problem(cache_directory()) or "".join(_problems[:1])


@lru_cache
def _folder_problem(directory):
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        return f"{directory}: {error.strerror}"
    return ""


_kept = []


def kernel(function=None, *, inline=False):
    """Compile `function` at its first call for each set of argument types, and keep it on disk, unless its module has no file.

    Of a function outside the package its own file counts, and the whole package; not what else its module imports.
    """

    def decorate(python_function):
        if inline:  # the caller's cache holds it
            return numba.njit(nogil=True, error_model="numpy", inline="always")(python_function)
        compiled = numba.njit(nogil=True, error_model="numpy")(python_function)
        if _text(python_function.__module__) and not _folder_problem(cache_directory()):
            keep(compiled, caching.FunctionCache)
            _kept.append(compiled)
        return compiled

    return decorate if function is None else decorate(function)


def nothing_kept(*packages):
    """Whether of all kernels that have been imported from some packages, such as "deshpc.formats", none has been compiled before."""
    files = (one._cache for one in _kept if one.py_func.__module__.startswith(packages))
    return not any(os.path.exists(file.index) for file in files)


def keep(compiled, cache_class):
    """Have a dispatcher keep on disk what it compiles.  cache_class : Numba's own, of dispatchers of this kind"""
    compiled._cache = _kept_class(cache_class)(compiled.py_func)


@cache
def _kept_class(base):
    """Numba's cache of a function, `base`, with folders, keys and files as this module has them."""

    class Implementation(base._impl_class):
        _locator_classes = (_Locator,)

    class Kept(base):
        _impl_class = Implementation

        def __init__(self, function):
            super().__init__(function)
            self._cache_file = _Files(self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())

        @property
        def index(self):
            """Path of the file that lists what has been compiled."""
            return self._cache_file._index_path

        def _index_key(self, signature, codegen):
            return *super()._index_key(signature, codegen), module_digest(*sorted(_modules_of(signature)))

        def load_overload(self, *arguments):
            _meet_arrays()
            try:
                return super().load_overload(*arguments)
            except Exception:  # of a damaged file, unpickling raises anything
                with suppress(Exception):
                    self.flush()
                return None

        def save_overload(self, *arguments):
            try:
                super().save_overload(*arguments)
            except OSError as error:
                _problems.append(f"{cache_directory()}: {error.strerror}")

    return Kept


@cache
def _meet_arrays():
    """Load what Numba knows of arrays, which it does with the first kernel, but not SciPy, of which it would only ask for BLAS: for a sixth of a
    second, where kernels have no use for it."""
    blas = "scipy.linalg.cython_blas"
    if blas not in sys.modules:
        sys.modules[blas] = None
        try:
            import_module("numba.np.arraymath")
        finally:
            del sys.modules[blas]


class _Locator:
    """Where a function's machine code is kept, as Numba asks for it."""

    def __init__(self, function):
        self._path = str(cache_directory() / f"{function.__module__}-{module_digest(function.__module__)}")
        self._line = str(function.__code__.co_firstlineno)

    @classmethod
    def from_function(cls, function, file):
        """The place of a Python function, whichever file it is in."""
        return cls(function)

    def ensure_cache_path(self):
        """Make the folder."""
        os.makedirs(self._path, exist_ok=True)

    def get_cache_path(self):
        """The folder."""
        return self._path

    def get_source_stamp(self):
        """What tells one text of a module from another: the folder's name does."""
        return ""

    def get_disambiguator(self):
        """What tells functions of one name in a module apart."""
        return self._line


_IMPORT = uuid.uuid4().hex[:12]


class _Files(caching.IndexDataCacheFile):
    """Machine code in files that no other process writes to, a fork of this one neither."""

    def _data_name(self, number):
        return f"{self._index_name.removesuffix('.nbi')}.{_IMPORT}-{os.getpid()}.{number}.nbc"


def _modules_of(kind):
    """Modules that say what arguments of Numba's types mean: a tuple of types, or one of them."""
    if not isinstance(kind, tuple):
        yield from (name for name in (type(kind).__module__,) if not name.startswith(_OTHERS))
    if hasattr(kind, "instance_class"):  # of a named tuple
        yield kind.instance_class.__module__
    for part in kind if isinstance(kind, tuple) else getattr(kind, "types", ()):
        yield from _modules_of(part)


@contextmanager
def compilations(begins=lambda: None):
    """During a block, count what is compiled that is in no cache, in whichever thread; gives a Compilations.

    begins : called once, before the first
    """
    listener = Compilations(begins)
    with event.install_listener("numba:compile", listener):
        yield listener


class Compilations(event.Listener):
    """count : functions that have been compiled"""

    def __init__(self, begins):
        self.count, self._begins, self._since = 0, [begins], None

    @property
    def seconds(self):
        """Since the first one began; 0 where there was none."""
        return time.monotonic() - self._since if self._since else 0.0

    def on_start(self, event):
        """One begins."""
        self.count += 1
        with suppress(IndexError):  # another thread was faster
            begins = self._begins.pop()
            self._since = time.monotonic()
            begins()

    def on_end(self, event):
        """One ends."""
