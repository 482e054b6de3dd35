"""The checkpoints of a run as the training loop sees them: write one now, is all well, wait for the last."""

from deshpc.checkpoint.background import BackgroundWrite
from deshpc.checkpoint.folders import remove_older, step_folder
from deshpc.checkpoint.save import complete, dense_of, prepare, removed_if_it_fails, write_share, writing
from deshpc.errors import DeshpcError


class Checkpoints:
    """Writes the checkpoints of `model` into a run's directory.

    keep : number of newest ones that stay;  background : write from a copy of the rows while training goes on
    One is written at a time: the next waits for it.  What cannot be written is raised on every rank, by the next call of
    any method; the checkpoints before it are then as they were.
    """

    def __init__(self, model, run, keep, background):
        self._model, self._group, self._run = model, model.group, run
        self._keep, self._background, self._under_way = keep, background, None

    def write(self, manifest, best=None):
        """Write the model as it is, with a `describe`d manifest; best : folder of the best model, kept with it.  Collective."""
        self.finish()
        model, group = self._model, self._group
        model.enter("checkpoint")
        folder = self._folder = step_folder(self._run, manifest["steps"])
        with removed_if_it_fails(group, folder):
            prepare(group, folder, best)
            dense = dense_of(model)
            if self._background:
                copy = model.table.copied_blocks()
                self._under_way = BackgroundWrite(self._run, folder, group, manifest, copy, dense, self._keep)
                return
            blocks, moved = model.table.blocks(), lambda: model.enter("checkpoint")
            group.together(lambda: write_share(folder, group, manifest, blocks, dense, moved))

            def last():
                complete(folder, manifest)
                with writing(folder):
                    remove_older(self._run, manifest["steps"], self._keep)

            group.together(last if group.rank == 0 else lambda: None)

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
        self._under_way.wait_for_all()
        self._agree()
        self._under_way = None

    def _agree(self):
        """Raise a failure of any rank's writing on all of them."""
        write = self._under_way
        try:
            self._group.agree(write.error)
        except BaseException as error:
            write.abandon()
            if isinstance(error, DeshpcError):  # all ranks have it
                with removed_if_it_fails(self._group, self._folder):
                    self._wait_for_shares()
                    raise
            raise

    def _wait_for_shares(self):
        """Wait until no rank writes its files any more.  Collective."""
        self._under_way.wait_for_share(lambda: self._model.enter("checkpoint"))
        self._under_way.wait_for_all()
        self._group.agree(None)
