"""Two trees of sources: the working tree, and a commit that is checked out into a temporary folder; deshpc of either, on some ranks."""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_FOR_OPEN_MPI = {  # as scripts/mpi.sh
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


@contextmanager
def checked_out(commit):
    """The folder of a commit's tree, which is removed at the end of the block.  SystemExit where there is no such commit."""
    found = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", check=False).stdout.strip()
    if not found:
        sys.exit(f"{commit}: no commit of {ROOT}")
    with tempfile.TemporaryDirectory(prefix="deshpc-tree-") as temporary:
        tree = Path(temporary).resolve() / "tree"
        _git("worktree", "add", "--quiet", "--detach", str(tree), found)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def described(tree):
    """Short name and subject of the commit of a tree, and whether its deshpc differs from it."""
    changed = _git("status", "--porcelain", "--", "src", folder=tree).stdout.strip()
    return _git("log", "-1", "--format=%h %s", folder=tree).stdout.strip() + (", with changes in src" if changed else "")


def run(tree, ranks, *arguments, cwd):
    """The finished process (text output) of `python ARGUMENTS` on so many ranks, which imports deshpc from `tree`."""
    launcher = Path(sys.executable).with_name("mpiexec")
    return subprocess.run(
        [str(launcher) if launcher.exists() else "mpiexec", "-n", str(ranks), sys.executable, *map(str, arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=cwd,
        env={**_FOR_OPEN_MPI, **os.environ, "PYTHONPATH": str(tree / "src")},
    )  # fmt: skip


def require_origin(tree):
    """SystemExit unless processes of `run` import the deshpc of `tree`: otherwise a tree might be compared with itself."""
    found = run(tree, 1, "-c", "import deshpc; print(deshpc.__file__)", cwd=tree).stdout.strip()
    if not found or not Path(found).resolve().is_relative_to(tree.resolve()):
        sys.exit(f"{tree}: its deshpc is not imported, but {found or 'nothing'}")


def _git(*arguments, folder=ROOT, check=True):
    return subprocess.run(["git", "-C", str(folder), *arguments], check=check, stdout=subprocess.PIPE, text=True)
