"""Dense parameters and their optimizer state on disk: one container, `about` names them in order."""

import numpy as np

from deshpc.errors import DataError
from deshpc.storage.container import ContainerWriter

KIND = "checkpoint dense"
_MOST_PLANES = 2  # numbers of state that a rule keeps for a parameter


def write_dense(path, run, steps, names, arrays):
    """run : that writes it
    names : [(name, shape)] of the parameters
    arrays : {"values", "state"}, flat (`nn.parameters`)."""
    about = {"run": run, "steps": steps, "names": [[name, list(shape)] for name, shape in names]}
    with ContainerWriter(path, KIND, about) as writer:
        for name, array in arrays.items():
            writer.add(name, array)
        writer.finish()


def dense_of(model):
    """Arguments of `write_dense` after the steps, on rank 0, which writes for all; None on the others.  Collective."""
    arrays = model.dense_sums.whole_arrays()
    return (model.parameters.names(), arrays) if model.group.rank == 0 else None


def read_dense(container, names):
    """{"values", "state"}: flat arrays, of which `names`, [(name, shape)] of a manifest, say what lies where.

    DataError unless they are those of these parameters, and finite.
    """
    path, about, total = container.path, container.about, sum(map(size_of, (shape for _, shape in names)))
    if about.get("names") != [[name, list(shape)] for name, shape in names]:
        raise DataError(f"{path}: damaged, or of another model: has the parameters of {str(about)[:200]}")
    shapes = {name: container.shape(name) for name in ("values", "state")}
    if shapes["values"] != (total,) or len(shapes["state"]) != 1 or shapes["state"][0] > _MOST_PLANES * total:
        raise DataError(f"{path}: damaged: values and state have the shapes {tuple(shapes.values())}; expected {total} numbers")
    if any(container.dtype(name).kind != "f" for name in shapes):
        raise DataError(f"{path}: damaged: values or state are not floating-point numbers")
    arrays = {name: container.read(name) for name in shapes}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DataError(f"{path}, section {name!r}: number {int(np.argmin(np.isfinite(array)))} is not finite")
    return arrays


def named(values, names):
    """{name: array} of flat values, by [(name, shape)]."""
    begin, arrays = 0, {}
    for name, shape in names:
        end = begin + size_of(shape)
        arrays[name], begin = values[begin:end].reshape(shape), end
    return arrays


def size_of(shape):
    """Numbers of a parameter."""
    size = 1
    for extent in shape:
        size *= extent
    return size
