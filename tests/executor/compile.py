"""Compiles kernels, and the runtime under them, to shared libraries, which are kept in the user's cache.

The compiler is the first there is of g++, clang++ and Zig's (`python -m ziglang c++`, PyPI package ziglang);
DESHPC_CXX names another: a command, or `zig`.  A library's name is a digest of all that it is made from, so that
processes may compile and load side by side: each writes a file of its own and gives it its name when it is complete.
"""

import functools
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from executor import source
from executor.errors import ExecutorError

NATIVE = Path(__file__).parent / "native"
MODES = ("fast", "check", "coverage")

# No fused multiply-add unless the kernel says so.  DWARF 4 is what line_table.py reads.
_COMMON = ["-std=c++17", "-fPIC", "-g", "-gdwarf-4", "-ffp-contract=off", "-fno-strict-aliasing", "-fno-exceptions", "-w"]
_UNDEFINED = "alignment,bounds,signed-integer-overflow,shift-exponent,integer-divide-by-zero,float-cast-overflow,return,unreachable"
_VOLATILE = {
    "gcc": ["--param=tsan-distinguish-volatile=1"],
    "clang": ["-mllvm", "-tsan-distinguish-volatile=1", "-mllvm", "-tsan-instrument-read-before-write=1"],
}


@dataclass(frozen=True)
class Compiler:
    command: tuple
    family: str  # gcc or clang, whose flags differ
    version: str
    extra: tuple  # options that not every version has


@dataclass(frozen=True)
class Compiled:
    library: Path
    runtime: Path
    notes: Path | None  # gcov's, in coverage mode


def cache_directory():
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "deshpc" / "executor"


def compiler():
    """The compiler in use; ExecutorError if there is none."""
    return _compiler(os.environ.get("DESHPC_CXX", ""))


@functools.cache
def _compiler(wanted):
    zig = (sys.executable, "-m", "ziglang", "c++")
    if wanted:
        command = zig if wanted == "zig" else tuple(shlex.split(wanted))
    elif found := shutil.which("g++") or shutil.which("clang++"):
        command = (found,)
    elif importlib.util.find_spec("ziglang"):
        command = zig
    else:
        raise ExecutorError("no C++ compiler: install g++ or clang++, or `pip install ziglang`, or set DESHPC_CXX")
    done = subprocess.run([*command, "--version"], capture_output=True, text=True)
    if done.returncode:
        raise ExecutorError(f"{shlex.join(command)} --version: {done.stderr.strip()}")
    # A local variable without a value holds what no test expects.
    pattern = ("-ftrivial-auto-var-init=pattern",)
    known = subprocess.run([*command, *pattern, "-x", "c++", "-E", os.devnull], capture_output=True).returncode == 0
    return Compiler(command, "clang" if "clang" in done.stdout else "gcc", done.stdout, pattern if known else ())


def _flags(mode, family, has_volatile):
    flags = list(_COMMON)
    flags += {"fast": ["-O2"], "check": ["-O1"], "coverage": ["-O0", "--coverage"]}[mode]
    if mode == "check":
        flags += ["-DEXECUTOR_CHECKS", f"-fsanitize={_UNDEFINED}", f"-fsanitize-recover={_UNDEFINED.removesuffix(',return,unreachable')}"]
    # Where nothing is checked, only volatile accesses need to be seen: another thread may have to run there.
    if mode == "check" or has_volatile:
        flags += ["-fsanitize=thread", *_VOLATILE[family]]
    return flags


def compile_kernels(name, text, constants, mode):
    """(Compiled, {kernel: parameter names}) of a source; `name` is for messages, `constants` become macros."""
    chosen = compiler()
    kernels = source.kernels(text)
    exports = "".join(f"EXECUTOR_EXPORT({kernel})\n" for kernel in kernels)
    if mode == "coverage":
        exports += 'extern "C" void __gcov_dump(); extern "C" void __gcov_reset();\n'
        exports += 'extern "C" void executor_dump_coverage() { __gcov_dump(); }\n'
        exports += 'extern "C" void executor_reset_coverage() { __gcov_reset(); }\n'
    whole = f'#line 1 "{name}"\n{source.with_block_memory(text)}\n#line 1 "exports"\n{exports}'
    flags = [*chosen.extra, *_flags(mode, chosen.family, "volatile" in source.without_comments(text))]
    flags += [f"-D{key}={value}" for key, value in constants.items()]
    return _cached(chosen, name, {"module.cpp": whole}, flags, _runtime(chosen), mode), kernels


def runtime():
    """The runtime's library for the compiler in use."""
    return _runtime(compiler())


@functools.cache
def _runtime(chosen):
    sources = {path.name: path.read_text() for path in sorted(NATIVE.glob("*.cpp"))}
    return _cached(chosen, "executor runtime", sources, [*_COMMON, "-O2"], None, "fast").library


@functools.cache
def _recipe():
    return [path.read_text() for path in [Path(__file__), *sorted(NATIVE.glob("*.h"))]]


def _cached(chosen, name, sources, flags, runtime, mode):
    parts = (sources, flags, _recipe(), chosen, runtime and runtime.name)
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
    folder = cache_directory()
    library = folder / f"{digest}.so"
    notes = folder / f"{digest}.gcno" if mode == "coverage" else None
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as temporary:
            made = _compile(chosen, name, sources, flags, runtime, Path(temporary), library.name)
            if notes:
                os.replace(made.with_name("module.gcno"), notes)
            os.replace(made, library)
    return Compiled(library, runtime, notes)


def _compile(chosen, name, sources, flags, runtime, folder, soname):
    for file, text in sources.items():
        (folder / file).write_text(text)
    objects = []
    in_front = ["-include", str(NATIVE / "cuda.h")] if runtime else []
    for file in sources:
        objects.append(file.replace(".cpp", ".o"))
        _run([*chosen.command, *flags, f"-I{NATIVE}", *in_front, "-c", file, "-o", objects[-1]], folder, name)
    # A module is linked with its runtime by that library's name alone: it is loaded already.
    libraries = [str(runtime), "-Wl,-rpath,$ORIGIN"] if runtime else []
    coverage = ["--coverage"] if "--coverage" in flags else []
    # -O2: when it links without optimisation, Zig adds a library with __ubsan_* functions of its own.
    # -Bsymbolic: a kernel may have the name of a function of the C library.
    _run([*chosen.command, "-shared", "-O2", "-Wl,-Bsymbolic", *coverage, "-o", "module.so", *objects, f"-Wl,-soname,{soname}", *libraries], folder, name)
    return folder / "module.so"


def _run(command, folder, name):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise ExecutorError(f"{name} does not compile ({shlex.join(command)}):\n{done.stderr}")
