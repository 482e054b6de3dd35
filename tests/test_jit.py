"""The folder of compiled kernels follows every source that a kernel can take code or constants from."""

import os
import subprocess
import sys
from pathlib import Path

import deshpc


def digest_of(package):
    """The kernel digest that a copy of the package computes."""
    code = "import deshpc.jit as jit; print(jit.source_digest())"
    done = subprocess.run([sys.executable, "-c", code], cwd=package.parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_edit_of_a_kernel_or_of_a_module_beside_one_starts_a_new_cache_folder(tmp_path):
    package = tmp_path / "deshpc"
    source = Path(deshpc.__file__).parent
    for path in source.rglob("*.py"):
        copy = package / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    seen = {digest_of(package)}
    for name in ("backend/cpu/fm.py", "backend/record.py", "hashing/key.py", "jit.py"):
        with open(package / name, "a", encoding="utf-8") as file:
            file.write("# edited\n")
        seen.add(digest_of(package))
    assert len(seen) == 5
    with open(package / "cli" / "main.py", "a", encoding="utf-8") as file:
        file.write("# edited\n")
    assert digest_of(package) in seen  # holds no kernel


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
    assert result == "4" and problem.endswith(":_File_too_large") and "/cache/deshpc/kernels-" in problem
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


def test_somebody_hears_once_of_a_function_that_is_in_no_cache(tmp_path):
    tell = (
        "from deshpc.jit import at_first_compilation",
        "with at_first_compilation(lambda: print('compiles')): print(probe.twice(1, 2), probe.twice(1.0, 2.0))",
        "print(probe.twice(1, 2.0))",
    )
    assert run_kernel(tmp_path, tmp_path / "cache", *tell) == ["compiles", "4", "4.0", "4.0"]
    assert run_kernel(tmp_path, tmp_path / "cache", *tell) == ["4", "4.0", "4.0"]  # another process: all is in the cache
