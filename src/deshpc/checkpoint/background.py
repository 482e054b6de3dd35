"""A checkpoint that is written while training goes on.

The thread of each rank writes the rank's own files, and rank 0's then waits for those of the others to appear in the
folder, writes the manifest and gives the folder its name.  No thread calls MPI.  The folder is asked, rather than the
ranks at one of their next steps, because the checkpoint then counts as soon as it is durable, and not an interval later.
"""

import threading

from deshpc.checkpoint.folders import remove_older
from deshpc.checkpoint.save import complete, write_share, writing

_LOOK_S = 0.5


class BackgroundWrite:
    """Begins to write the blocks of this rank, a list of Rows, and on rank 0 all that belongs to the folder.

    group : only its rank and size are used;  arguments as of `save.write_share`, `save.complete`, `folders.remove_older` and `Checkpoints`
    """

    def __init__(self, run, folder, group, manifest, blocks, dense, keep, held, then, waiting=None, change=None):
        self.error = None
        self._blocks_out = 0
        self._share_done, self._all_written, self._abandoned = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(run, folder, group, manifest, blocks, dense, keep, held, then, waiting, change), name="deshpc-checkpoint",
            daemon=True,
        )  # fmt: skip
        self._thread.start()

    @property
    def busy(self):
        """Whether it still writes; on rank 0, whether the folder has no name yet."""
        return self._thread.is_alive()

    def wait_for_share(self, moved):
        """Wait until this rank's files are written, or cannot be; `moved` is called as blocks go out.  Not collective."""
        seen = -1
        while not self._share_done.wait(_LOOK_S):
            if seen != self._blocks_out:
                seen = self._blocks_out
                moved()

    def wait_for_all(self):
        """Wait for the rest: called when the shares of all ranks are written.  Not collective."""
        self._all_written.set()
        self._thread.join()

    def abandon(self):
        """Write no manifest: another rank has failed."""
        self._abandoned.set()

    def end(self):
        """Wait until nothing is written any more.  Not collective."""
        self._abandoned.set()
        self._thread.join()

    def _run(self, run, folder, group, manifest, blocks, dense, keep, held, then, waiting, change):
        try:
            write_share(folder, group, manifest, self._released(blocks), dense, self._count, waiting, change)
            self._share_done.set()
            if group.rank == 0:
                complete(folder, manifest, held, self._all_written.is_set, self._abandoned.is_set)
                if not self._abandoned.is_set():
                    then(folder)
                    with writing(folder):
                        remove_older(run, manifest["steps"], keep)
        except Exception as error:  # raised on all ranks at their next meeting
            self.error = error
        finally:
            self._share_done.set()

    def _released(self, blocks):
        """The blocks, each of which is given up when it is written."""
        blocks.reverse()
        while blocks:
            yield blocks.pop()

    def _count(self):
        self._blocks_out += 1
