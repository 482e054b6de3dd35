"""Small models on disk for tests of checkpoints: rows of which all is known, models that N of the ranks have trained."""

import shutil
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from deshpc.checkpoint.dense_file import write_dense
from deshpc.checkpoint.describe import describe
from deshpc.checkpoint.folders import partial, step_folders
from deshpc.checkpoint.manifest import FORMAT
from deshpc.checkpoint.parts import rows_name
from deshpc.checkpoint.rows_file import write_rows
from deshpc.checkpoint.save import complete
from deshpc.config import resolved
from deshpc.hashing.key import HASH_ID
from deshpc.storage.container import Container
from deshpc.table.shard import Rows

RUN = "0123456789abcdef"
NAMES = [("bias", ()), ("fm.weights", (2,))]


def random_rows(seed, count, numbers=4, low=1, high=2**64 - 1):
    """`count` Rows at most, with keys low .. high in ascending order."""
    rng = np.random.default_rng(seed)
    hashes, fields = rng.integers(low, high, count, np.uint64, endpoint=True), rng.integers(0, 9, count).astype(np.uint64)
    keys = np.unique(hashes & ~np.uint64(0xFFFF << 32) | fields << np.uint64(32))
    n = len(keys)
    return Rows(
        keys, (keys >> np.uint64(32)).astype(np.uint16), rng.integers(0, 3, n).astype(np.uint32),
        rng.integers(0, 3, n).astype(np.uint32), rng.standard_normal((n, numbers)).astype(np.float32),
    )  # fmt: skip


def slice_rows(rows, begin, end):
    return rows.take(slice(begin, end))


def plain_manifest(ranks, steps, progress=None, run=RUN):
    """A manifest, but for its files, of a model that never was in memory."""
    return {
        "format": FORMAT, "deshpc": "0", "run": run, "hash": HASH_ID, "steps": steps, "ranks": ranks,
        "model": {
            "operator": "fm", "split": "key", "scalars": 1, "dim": 3, "planes": 0, "precision": "float32", "optimizer": "sgd",
            "dense_optimizer": "sgd", "scalar_state": 0, "vector_state": 0,
        },
        "dense": [[name, list(shape)] for name, shape in NAMES], "random": {"seed": 1, "step": steps},
        "progress": progress, "source": {}, "config": {"data": {"format": "csv", "label": "d\u00e9j\u00e0", "fields": []}, "optimizer": {"epsilon": 1e-08}},
    }  # fmt: skip


def write_model(folder, of_ranks, steps=7, block_rows=5, progress=None, run=RUN):
    """Write a model of the Rows of each rank; returns the folder."""
    new, ranks = partial(Path(folder), run), len(of_ranks)
    if progress is not None:
        numbers = ("epoch", "batch", "position", "block", "row", "samples", "train_rows")
        progress = {**dict.fromkeys(numbers, 0), "steps": steps, "best_step": None, "best_run": run if progress.get("best_step") else None, "stopping": None, **progress}
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    write_dense(new / "dense", run, steps, NAMES, {"values": np.arange(3.0) + steps, "state": np.zeros(0)})
    for rank, rows in enumerate(of_ranks):
        blocks = [slice_rows(rows, begin, begin + block_rows) for begin in range(0, len(rows), block_rows)]
        write_rows(new / rows_name(rank, ranks), run, rank, ranks, steps, blocks)
    complete(Path(folder), plain_manifest(ranks, steps, progress, run))
    return Path(folder)


def files_of(folder):
    """{relative path: content} of every file below a folder."""
    folder = Path(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def content_of(folder):
    """{file: {section: bytes}} of every container below a folder, whichever run wrote it."""
    folder, found = Path(folder), {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".json":
            container = Container(path)
            about = {name: value for name, value in container.about.items() if name != "run"}
            sections = {name: container.read(name).tobytes() for name in container.names}
            found[str(path.relative_to(folder))] = {"about": about, **sections}
    return found


def joined(blocks):
    """Blocks of Rows, one after another, in the order in which they come."""
    blocks = list(blocks)
    return Rows(**{name: np.concatenate([block.arrays[name] for block in blocks]) for name in blocks[0].arrays})


def assert_same_rows(found, expected):
    """The same bits."""
    assert found.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        other = getattr(found, name)
        assert other.dtype == array.dtype and other.tobytes() == array.tobytes(), name


@contextmanager
def some_ranks(world, count):
    """A communicator of the first `count` ranks of `world`; None on the others.  All wait for each other.  Collective."""
    comm = world.Split(0 if world.rank < count else 1)
    yield comm if world.rank < count else None
    world.Barrier()
    comm.Free()


def manifest_of(model, config, steps):
    """The manifest of a model of a Config, but for its files."""
    return describe(model, resolved(config), {}, steps, run=RUN)


def single_rank():
    """Stands for a group of one rank."""
    return SimpleNamespace(rank=0, size=1, together=lambda task: task())


def taken_back(whole, folder, step):
    """Make `folder` (Path) what the run in `whole` was right behind its checkpoint of `step`.  By one rank."""
    shutil.copytree(whole, folder)
    for found, checkpoint in step_folders(folder):
        if found > step:
            shutil.rmtree(checkpoint)
