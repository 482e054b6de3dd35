"""The architecture's rules, read from the source text: imports point down the layers, collectives stay where ranks speak, an
object's attributes are its own class's to assign, and importing the package does nothing.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

from launching import TIMEOUT_S

import deshpc

PACKAGE = Path(deshpc.__file__).parent
ARCHITECTURE = Path(__file__).parents[1] / "ARCHITECTURE.md"

ENTRANCES = ("__init__.py", "__main__.py")  # of the package itself: above all layers

COLLECTIVES = {
    "bcast", "scatter", "gather", "allgather", "alltoall", "reduce", "allreduce", "scan", "exscan", "barrier",
}  # fmt: skip
MPI_CALLS = {"Dup", "Idup", "Split", "Split_type", "Create_group", "Allocate_shared"}
for _name in [*COLLECTIVES, "scatterv", "gatherv", "allgatherv", "alltoallv", "alltoallw", "reduce_scatter"]:
    MPI_CALLS |= {_name.capitalize(), f"I{_name}"}
UNMISTAKABLE = {"bcast", "allgather", "alltoall", "allreduce", "exscan"}  # the others have innocent namesakes

# Attributes of objects that are not ours, which nothing but an assignment changes.
ASSIGNED_ALL_THE_SAME = {
    "backend/cuda/numba_kernels.py": {"cuda.config.CUDA_LOW_OCCUPANCY_WARNINGS"},  # Numba's setting
    "launch/failure.py": {"threading.excepthook"},  # Python offers no other way
    "cli/completion.py": {"action.complete"},  # how shtab is told
    "jit.py": {"compiled._cache"},  # a dispatcher makes its cache itself: none can be given
}

TREES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}


def layers():
    """Names of the layers in ARCHITECTURE.md, lowest first."""
    _, begin, rest = ARCHITECTURE.read_text(encoding="utf-8").partition("<!-- layers -->")
    block, end, _ = rest.partition("<!-- /layers -->")
    assert begin and end
    return [line.split()[0] for line in block.splitlines() if line.strip() and not line.startswith("```")]


def imported(tree):
    """(line, full dotted name) of every import, wherever it stands; `from a import b` gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def upward_imports(tree, layer, order):
    """Lines whose import does not point to the module's own layer or one below it."""
    for line, name in imported(tree):
        package, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if package == "deshpc" and target in order and order.index(target) > order.index(layer):
            yield f"line {line}: {layer} imports {name}"


def collective_calls(tree):
    """Lines that call a collective of MPI."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, receiver = node.func.attr, ast.unparse(node.func.value)
            on_communicator = receiver.split(".")[-1].strip("_") in ("comm", "world", "COMM_WORLD", "COMM_SELF")
            if name in MPI_CALLS or name in UNMISTAKABLE or (name in COLLECTIVES and on_communicator):
                yield f"line {node.lineno}: {receiver}.{name}"


def foreign_assignments(tree):
    """(line, attribute) of everything that sets or deletes an attribute of anything but `self` and `cls`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, (ast.Store, ast.Del)):
            owner, name = ast.unparse(node.value), node.attr
        elif isinstance(node, ast.Call) and re.search(r"(^|\.)_*(set|del)attr_*$", ast.unparse(node.func)):
            owner, name = ast.unparse(node.args[0]), "*"
        else:
            continue
        if owner not in ("self", "cls"):
            yield node.lineno, f"{owner}.{name}"


def layer_of(path):
    return path.partition("/")[0].removesuffix(".py")


def test_every_module_belongs_to_a_layer():
    assert len(TREES) > 50
    assert {layer_of(path) for path in TREES if path not in ENTRANCES} <= set(layers())
    assert len(set(layers())) == len(layers())


def test_imports_point_down():
    inner = {path: tree for path, tree in TREES.items() if path not in ENTRANCES}
    found = {path: list(upward_imports(tree, layer_of(path), layers())) for path, tree in inner.items()}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_imports_are_absolute():
    imports = [
        (path, node) for path, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    ]
    assert [(path, node.lineno) for path, node in imports if node.level] == []


def test_few_call_collectives():
    others = {path: tree for path, tree in TREES.items() if layer_of(path) not in ("comm", "launch", "doctor")}
    found = {path: list(collective_calls(tree)) for path, tree in others.items()}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_only_start_and_end_know_the_world():
    texts = {path: (PACKAGE / path).read_text(encoding="utf-8") for path in TREES}
    assert [path for path, text in texts.items() if re.search(r"\bCOMM_WORLD\b", text)] == ["launch/failure.py", "launch/start.py"]


def test_attributes_are_assigned_by_their_own_class():
    found = {path: {name for _, name in foreign_assignments(tree)} for path, tree in TREES.items()}
    assert {path: names for path, names in found.items() if names} == ASSIGNED_ALL_THE_SAME


def test_the_rules_see_what_they_forbid():
    tree = ast.parse(
        "def f():\n    import deshpc.training.api\n    from deshpc import cli\n    from deshpc.data import batch"
    )
    assert len(list(upward_imports(tree, "table", layers()))) == 2
    tree = ast.parse("self.node.comm.gather(1)\ncomm.Ibcast(x)\ngroup.gather(1)\nnp.add.reduce(x)\ng._comm.reduce(x)")
    assert len(list(collective_calls(tree))) == 3
    tree = ast.parse(
        "self.a = cls.b = c.d['x'] = 1\nself.a, (b.c, *d.e) = x\nself.a.b += 1\nf().a: int = 1\ndel a.b\nfor a.b in c: pass\n"
        "with a as b.c: pass\nsetattr(self, n, 1)\nsetattr(a, n, 1)\nobject.__setattr__(b, n, 1)"
    )
    seen = ["b.c", "d.e", "self.a.b", "f().a", "a.b", "a.b", "b.c", "a.*", "b.*"]
    assert [name for _, name in sorted(foreign_assignments(tree), key=lambda found: found[0])] == seen


def python(code):
    """Run code in a new interpreter; what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


# `numba_kernels` is imported where a device has been opened, and is alone in importing numba.cuda at once
IMPORT_ALL = """
import importlib, pkgutil, sys
import deshpc
names = [module.name for module in pkgutil.walk_packages(deshpc.__path__, "deshpc.")]
names = [name for name in names if name not in ("deshpc.__main__", "deshpc.backend.cuda.numba_kernels")]
for name in names:
    importlib.import_module(name)
print(*names)
"""

BLOCK = """
import sys

class Blocked:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("cupy", "mpi4py") or name == "numba.cuda":
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked)
"""


def test_every_module_can_be_imported_without_gpu_or_mpi():
    names = python(BLOCK + IMPORT_ALL)
    assert len(names) > 50 and {"deshpc.launch.start", "deshpc.backend.cpu.fm", "deshpc.training.api"} <= set(names)


def test_importing_every_module_does_not_start_mpi():
    modules = python(IMPORT_ALL + "print('loaded', *sys.modules)")
    assert "deshpc.comm.group" in modules and not {"mpi4py.MPI", "numba.cuda", "cupy"} & set(modules)


def test_the_front_imports_nothing_heavy():
    code = """
import importlib, pkgutil, sys
for package in ("deshpc.config", "deshpc.cli"):
    importlib.import_module(package)
    for module in pkgutil.iter_modules(sys.modules[package].__path__, package + "."):
        importlib.import_module(module.name)
print(*sys.modules)
"""
    modules = python(code)
    assert {"deshpc.config.load", "deshpc.cli.main", "deshpc.cli.info", "deshpc.cli.tables"} <= set(modules)
    assert not {"numpy", "numba", "mpi4py"} & set(modules)
