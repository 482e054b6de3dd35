"""Dense parameters and their optimizer state on disk: one container, `about` names them in order."""

from deshpc.storage.container import ContainerWriter

KIND = "checkpoint dense"


def write_dense(path, run, steps, names, arrays):
    """run : that writes it;  names : [(name, shape)] of the parameters;  arrays : {"values", "state"}, flat (`nn.parameters`)."""
    about = {"run": run, "steps": steps, "names": [[name, list(shape)] for name, shape in names]}
    with ContainerWriter(path, KIND, about) as writer:
        for name, array in arrays.items():
            writer.add(name, array)
        writer.finish()


def dense_of(model):
    """Arguments of `write_dense` after the steps, on rank 0, which writes for all; None on the others.  Collective."""
    arrays = model.dense_sums.whole_arrays()
    return (model.parameters.names(), arrays) if model.group.rank == 0 else None


def dense_arrays(container):
    """{"values", "state"}: flat arrays, of which a manifest's "dense" says what lies where."""
    return {name: container.read(name) for name in ("values", "state")}
