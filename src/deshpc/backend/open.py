"""The one place that chooses the backend."""

from deshpc.errors import ConfigError


def open_backend(name, threads):
    """The backend called `name` ("auto" or "cpu") with `threads` threads for this rank."""
    if name in ("auto", "cpu"):
        from deshpc.backend.cpu.backend import CpuBackend

        return CpuBackend(threads)
    raise ConfigError(f"compute.backend = {name!r} is not there; choose 'cpu'")
