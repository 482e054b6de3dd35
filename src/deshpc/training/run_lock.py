"""One run at a time trains in a folder: rank 0 holds its lock from before anything is written or removed there to the end."""

from contextlib import contextmanager
from pathlib import Path

from deshpc.errors import ConfigError
from deshpc.launch.console import say
from deshpc.storage.lock import Lock


@contextmanager
def run_lock(group, directory):
    """Hold the lock of a run's folder, which is made, for a block; gives the Lock on rank 0.

    ConfigError on every rank where another run has it, or the folder cannot be written.  Entering is collective.
    """
    lock = Lock(Path(directory) / "lock", f"run.directory = {directory!r}", say) if group.rank == 0 else _NoLock()

    def take():
        try:
            Path(directory).mkdir(parents=True, exist_ok=True)
            lock.take()
        except OSError as problem:
            raise ConfigError(f"run.directory = {directory!r} cannot be written: {problem}") from None

    try:
        group.together(take if group.rank == 0 else lambda: None)
        yield lock
    finally:
        lock.release()


class _NoLock:
    """What the other ranks hold."""

    def require(self):
        """Nothing."""

    def release(self):
        """Nothing."""
