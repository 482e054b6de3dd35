"""The checkpoints of a run as the training loop sees them: write one now, is all well, wait for the last."""

from pathlib import Path
from typing import NamedTuple

from deshpc.checkpoint.background import BackgroundWrite
from deshpc.checkpoint.changed_rows import Change
from deshpc.checkpoint.dense_file import dense_of
from deshpc.checkpoint.folders import partial, remove_older, step_folder
from deshpc.checkpoint.manifest import CHANGE_FORMAT
from deshpc.checkpoint.parts import BASE
from deshpc.checkpoint.save import complete, prepare, removed_if_it_fails, write_share, writing
from deshpc.errors import DeshpcError


class _Base(NamedTuple):
    """folder : of the newest whole checkpoint, or of links to its files: that checkpoint may be gone;  steps : that made it"""

    folder: Path
    steps: int


class Checkpoints:
    """Writes the checkpoints of `model` into a run's directory.

    keep : number of newest ones that stay
    background : write from a copy of the rows while training goes on
    held : as in `save.save_model`
    then : function of the folder of each, called by rank 0 when it is complete, in the thread that writes
    full_every : every so many-th has all rows, those between what has changed since
    One is written at a time: the next waits for it.  What cannot be written, or is not finite, is raised on every rank, by the next
    call of any method; the checkpoints before it are then as they were.
    """

    def __init__(self, model, run, keep, background, held=lambda: None, then=lambda folder: None, full_every=1):
        self._model, self._group, self._run = model, model.group, run
        self._full_every, self._base, self._changes = full_every, None, 0
        self._keep, self._background, self._held, self._then, self._under_way = keep, background, held, then, None

    @property
    def busy(self):
        """Whether something is under way, as far as this rank knows: rank 0 knows of all.  Not collective."""
        return self._under_way is not None and self._under_way.busy

    def write(self, manifest, best=None):
        """Write the model as it is, with a `describe`d manifest; best : folder of the best model, kept with it.  Collective."""
        self.finish()
        model, group = self._model, self._group
        model.enter("checkpoint")
        folder, base = step_folder(self._run, manifest["steps"]), self._base_for(manifest["steps"])
        if base:
            manifest = {**manifest, "format": CHANGE_FORMAT, "base": {"run": manifest["run"], "steps": base.steps}}
        self._partial = partial(folder, manifest["run"])
        with removed_if_it_fails(group, self._partial):
            prepare(group, folder, manifest, best, base and base.folder)
            dense, waiting, change = dense_of(model), model.table.waiting(), None
            if base:
                change, blocks = Change.of(model.table.blocks(), *base)
            else:
                blocks = model.table.copied_blocks() if self._background else model.table.blocks()
            self._changes, self._base = (self._changes + 1, _Base(folder / BASE, base.steps)) if base else (0, _Base(folder, manifest["steps"]))
            if self._background:
                self._under_way = BackgroundWrite(
                    self._run, folder, group, manifest, blocks, dense, self._keep, self._held, self._then, waiting, change
                )
                return

            def share():
                write_share(folder, group, manifest, blocks, dense, lambda: model.enter("checkpoint"), waiting, change)

            group.together(share)

            def last():
                model.enter("checkpoint", works=True)
                complete(folder, manifest, self._held)
                self._then(folder)
                with writing(folder):
                    remove_older(self._run, manifest["steps"], self._keep)

            group.together(last if group.rank == 0 else lambda: None)

    def _base_for(self, steps):
        """The _Base over which a checkpoint is to go, None where a whole one is due."""
        due = self._base is None or self._changes + 1 >= self._full_every or steps < self._base.steps
        return None if due else self._base

    def check(self):
        """Raise on every rank if what is under way has failed on any.  Collective."""
        if self._under_way is not None:
            self._agree()

    def finish(self):
        """Wait until nothing is under way.  Collective."""
        if self._under_way is None:
            return
        self._model.enter("checkpoint")
        self._under_way.wait_for_share(lambda: self._model.enter("checkpoint"))
        self._agree()
        self._model.enter("checkpoint", works=True)  # rank 0 may be exporting
        self._under_way.wait_for_all()
        self._agree()
        self._under_way = None

    def end(self):
        """Give up what is under way, and wait until it writes nothing any more: the run ends by an error.  Not collective."""
        if self._under_way is not None:
            self._under_way.end()

    def _agree(self):
        """Raise a failure of any rank's writing on all of them."""
        write = self._under_way
        try:
            self._group.agree(write.error)
        except BaseException as error:
            write.abandon()
            if isinstance(error, DeshpcError):  # all ranks have it
                with removed_if_it_fails(self._group, self._partial):
                    self._wait_for_shares()
                    raise
            raise

    def _wait_for_shares(self):
        """Wait until no rank writes its files any more.  Collective."""
        self._under_way.wait_for_share(lambda: self._model.enter("checkpoint"))
        self._under_way.wait_for_all()
        self._group.agree(None)
