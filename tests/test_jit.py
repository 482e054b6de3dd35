"""The folder of compiled kernels follows every source that a kernel can take code or constants from."""

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
