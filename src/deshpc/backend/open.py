"""The one place that chooses the backend."""

from deshpc.errors import ConfigError


def open_backend(name, threads, node_rank=0, atomic_sums=False, matrix_products="auto"):
    """The backend called `name`: "cpu" (which "auto" means) with `threads` threads for this rank, or "cuda".

    node_rank : this rank's number in its node, which chooses the device
    atomic_sums : see `CudaBackend`
    matrix_products : of `compute.matrix_products`, see `backend.cpu.products` and `backend.cuda.products`
    """
    if name in ("auto", "cpu"):
        from deshpc.backend.cpu.backend import CpuBackend

        return CpuBackend(threads, matrix_products)
    if name == "cuda":
        from deshpc.backend.cuda.backend import CudaBackend
        from deshpc.backend.cuda.device import open_device

        return CudaBackend(open_device(node_rank), atomic_sums, matrix_products)
    raise ConfigError(f"compute.backend = {name!r} is not there; choose 'cpu' or 'cuda'")
