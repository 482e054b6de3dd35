"""Compiled kernels are kept by every source that they can take code, constants or types from."""

import os
import re
import subprocess
import sys
from pathlib import Path

import deshpc


def digest_of(package, module):
    """The digest that a copy of the package computes for the kernels of a module."""
    code = f"import deshpc.jit as jit; print(jit.module_digest({module!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=package.parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_kernels_are_kept_by_their_module_and_all_that_it_imports(tmp_path):
    package = tmp_path / "deshpc"
    source = Path(deshpc.__file__).parent
    for path in source.rglob("*.py"):
        copy = package / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    seen = {digest_of(package, "deshpc.backend.cpu.fm")}
    for name in ("backend/cpu/fm.py", "backend/record.py", "backend/cpu/simd.py", "jit.py"):  # simd: imported by what fm imports
        with open(package / name, "a", encoding="utf-8") as file:
            file.write("# edited\n")
        seen.add(digest_of(package, "deshpc.backend.cpu.fm"))
    assert len(seen) == 5
    for name in ("cli/main.py", "formats/word.py", "backend/cpu/linear.py"):
        with open(package / name, "a", encoding="utf-8") as file:
            file.write("# edited\n")
    assert digest_of(package, "deshpc.backend.cpu.fm") in seen


def test_overloads_stand_beside_what_they_are_of():
    """So that a kernel that imports a function imports all its forms.  Where the function is elsewhere, kernels have it from beside its forms."""
    texts = {path: path.read_text(encoding="utf-8") for path in (Path(deshpc.__file__).parent / "backend/cpu").rglob("*.py")}
    for path, text in texts.items():
        for name in re.findall(r"^@overload\((\w+)", text, re.MULTILINE):
            if not re.search(rf"^def {name}\(", text, re.MULTILINE):
                users = [other for other, code in texts.items() if other != path and "import kernel" in code and re.search(rf"\b{name}\(", code)]
                module = f"deshpc.backend.cpu.{path.stem}"
                assert all(re.search(rf"^from {module} import .*\b{name}\b", texts[user], re.MULTILINE) for user in users), (path, name)


def run_kernel(folder, cache, *lines):
    """What `lines` print in a process of its own, with `probe.twice(x, y)` a kernel whose code depends on its types."""
    (folder / "probe.py").write_text(
        "from deshpc.jit import kernel\n\n\n@kernel\ndef twice(x, y):\n    return 2 * x + y\n", encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(("import probe", *lines))], cwd=folder, capture_output=True, text=True, check=True,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(Path(deshpc.__file__).parents[1])},
    )  # fmt: skip
    return done.stdout.split()


def test_processes_that_compile_one_kernel_for_different_types_at_once_do_not_mix_their_code(tmp_path):
    """Both have read an empty index; in the end the index is that of the one, and the machine code was written by the other last:
    what Numba's cache alone would keep under the wrong types."""
    cache = tmp_path / "cache"
    first = (
        "files = probe.twice._cache._cache_file",
        "index, data = files._save_index, files._save_data",
        "import subprocess, sys",
        "other = 'import probe; files = probe.twice._cache._cache_file; files._load_index = dict; print(probe.twice(1, 2))'",
        "def late(name, code):",
        "    data(name, code)",
        "    subprocess.run([sys.executable, '-c', other], check=True)",
        "    index(seen)",
        "def save(overloads):",
        "    global seen",
        "    seen = overloads",
        "    index(overloads)",
        "files._save_index, files._save_data = save, late",
        "print(probe.twice(1.5, 2.5))",
    )
    assert run_kernel(tmp_path, cache, *first) == ["4", "5.5"]
    assert run_kernel(tmp_path, cache, "print(probe.twice(1, 2), probe.twice(1.5, 2.5))") == ["4", "5.5"]
    names = {path.name for path in cache.rglob("probe.twice*.nbc")}
    assert len(names) >= 2  # none has been overwritten by the other


def test_a_disk_without_room_for_kernels_costs_only_the_time_to_compile(tmp_path):
    lines = (
        "import resource, deshpc.jit as jit",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))",
        "print(probe.twice(1, 2), jit.cache_problem().replace(' ', '_'))",
    )
    result, problem = run_kernel(tmp_path, tmp_path / "cache", *lines)
    assert result == "4" and problem.endswith(":_File_too_large") and "/cache/deshpc/kernels:" in problem
    assert not list((tmp_path / "cache").rglob("*.nb*"))


def test_a_folder_that_cannot_be_written_is_not_replaced_by_one_without_a_digest(tmp_path):
    (tmp_path / "file").touch()
    lines = ("import deshpc.jit as jit", "print(probe.twice(1, 2), jit.cache_problem().replace(' ', '_'))")
    assert run_kernel(tmp_path, tmp_path / "file", *lines)[0] == "4"
    assert not list(tmp_path.rglob("*.nb*"))


def test_damaged_files_are_compiled_again(tmp_path):
    cache = tmp_path / "cache"
    assert run_kernel(tmp_path, cache, "print(probe.twice(1, 2))") == ["4"]
    for damage in (b"", b"\x80\x05damaged"):
        for path in [*cache.rglob("*.nbi"), *cache.rglob("*.nbc")]:
            path.write_bytes(damage)
        assert run_kernel(tmp_path, cache, "print(probe.twice(1, 2))") == ["4"]
    lines = ("print(probe.twice(1, 2), sum(probe.twice.stats.cache_hits.values()))",)
    assert run_kernel(tmp_path, cache, *lines) == ["4", "1"]


def test_a_type_of_arguments_that_changes_is_compiled_for_again(tmp_path):
    """Numba's key has the class's name and the types of its fields, not which field is which; and the kernel's module does not import it."""
    (tmp_path / "probe.py").write_text("from deshpc.jit import kernel\n\n\n@kernel\ndef first(pair):\n    return pair.a\n", encoding="utf-8")
    for fields, expected in (("a b", "1"), ("b a", "2")):
        (tmp_path / "kinds.py").write_text(f"import collections\nPair = collections.namedtuple('Pair', {fields!r})\n", encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", "import kinds, probe; print(probe.first(kinds.Pair(1, 2)))"], cwd=tmp_path, capture_output=True, text=True,
            check=True, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(Path(deshpc.__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip  # Python itself takes files of one size and second for the same
        assert done.stdout.split() == [expected]


def test_equal_sources_share_their_code_wherever_they_lie(tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        lines = ("print(probe.twice(1, 2), sum(probe.twice.stats.cache_hits.values()))",)
        found = run_kernel(folder, tmp_path / "cache", *lines)
    assert found == ["4", "1"]


def test_what_is_compiled_is_counted_and_told_of_before(tmp_path):
    tell = (
        "from deshpc.jit import compilations",
        "with compilations(lambda: print('compiles')) as all: print(probe.twice(1, 2), probe.twice(1.0, 2.0))",
        "print(all.count, all.seconds > 0)",
    )
    assert run_kernel(tmp_path, tmp_path / "cache", *tell) == ["compiles", "4", "4.0", "2", "True"]
    assert run_kernel(tmp_path, tmp_path / "cache", *tell) == ["4", "4.0", "0", "False"]  # another process: all is in the cache
