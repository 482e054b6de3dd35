"""Dense parameters and their optimizer state on disk: one container, `about` names them in order."""

from deshpc.storage.container import Container, ContainerWriter

KIND = "checkpoint dense"
NAME = "dense"


def write_dense(path, steps, names, arrays):
    """names : [(name, shape)] of the parameters;  arrays : {"values", "state"}, flat (`nn.parameters`)."""
    with ContainerWriter(path, KIND, {"steps": steps, "names": [[name, list(shape)] for name, shape in names]}) as writer:
        for name, array in arrays.items():
            writer.add(name, array)
        writer.finish()


def dense_of(model):
    """Arguments of `write_dense` after the steps, on rank 0, which writes for all; None on the others.  Collective."""
    arrays = model.dense_sums.whole_arrays()
    return (model.parameters.names(), arrays) if model.group.rank == 0 else None


def read_dense(path):
    """{"values", "state"}: flat arrays, of which a manifest's "dense" says what lies where."""
    container = Container(path, KIND)
    return {name: container.read(name) for name in ("values", "state")}
