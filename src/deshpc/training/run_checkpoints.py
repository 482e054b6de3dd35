"""The checkpoints of a run and its model, as the training loop asks for them."""

import time
from dataclasses import replace

from deshpc.checkpoint.checkpoints import Checkpoints
from deshpc.checkpoint.describe import describe
from deshpc.checkpoint.finite import require_finite
from deshpc.checkpoint.folders import run_model
from deshpc.checkpoint.load import load_model
from deshpc.checkpoint.manifest import read_manifest
from deshpc.checkpoint.save import require_best, save_model
from deshpc.config import resolved
from deshpc.errors import DataError
from deshpc.launch.console import say
from deshpc.serve.exports import Exports


class RunCheckpoints:
    """What a session's run writes of its model.

    run : its number
    lock : of its folder, asked before anything gets its name
    start : Cursor where it began, None at the beginning
    begins : whether its model has nothing to do with one that was exported before
    resumed : whether it goes on from a checkpoint
    A context manager: an error ends what is being written in the background.
    """

    def __init__(self, session, run, lock, start=None, begins=False, resumed=False):
        self.resumed, self.stalls_s, self._failed_exports = resumed, [], 0
        checkpoint, export, self._directory = session.config.checkpoint, session.config.export, session.config.run.directory
        self._session, self._source, self._run, self._held = session, session.input_state(), run, lock.require
        self._exports, self._every, self._count = None, export.every_checkpoints, 0
        if export.deltas:
            folder = export.directory or f"{self._directory}/exports"
            first = session.group.rank == 0
            self._exports = session.group.together(
                (lambda: Exports(folder, export.full_every, export.keep, begins, lock.require)) if first else lambda: None
            )
        self._written = Checkpoints(session.model, self._directory, checkpoint.keep, checkpoint.background, lock.require, self._export, checkpoint.full_every)
        self._best_run = start.best_run if start else None
        self.check, self.finish = self._written.check, self._written.finish

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        """After an error nothing is written any more when the block is left."""
        if kind is not None:
            self._written.end()

    def keep(self, steps):
        """Save the model as it is now as the run's: the best so far, or the last.  Collective."""
        save_model(self._session.model, run_model(self._directory), self._manifest(steps), self._held)
        self._best_run = self._run

    def require_finite(self, steps):
        """Raise on every rank where a number of the model, which is not saved, is not finite.  Collective."""
        require_finite(self._session.model, self._manifest(steps))

    @property
    def busy(self):
        """Whether a checkpoint is still being written, as far as this rank knows: rank 0 knows of all."""
        return self._written.busy

    def write(self, cursor):
        """Write a checkpoint, with the best model so far, if there is one.  Collective.

        Returns seconds that training has waited for: {"before_s": the checkpoint before, "stall_s": this one}.
        """
        begin = time.perf_counter()
        self.finish()
        free = time.perf_counter()
        best = None if cursor.best_step is None else run_model(self._directory)
        cursor = replace(cursor, best_run=None if best is None else self._best_run)
        self._written.write(self._manifest(cursor.steps, cursor.to_json()), best)
        waited = {"before_s": free - begin, "stall_s": time.perf_counter() - free}
        self.stalls_s.append(sum(waited.values()))
        return waited

    def export_trained(self):
        """Export the run's model, which is saved, where exports are asked for.  Collective."""
        if self._session.config.export.deltas:
            self._session.model.enter("export", works=True)
            self._session.group.together((lambda: self._add(run_model(self._directory))) if self._exports else lambda: None)

    def failed_exports(self):
        """How many models could not be exported; nothing may be under way.  Collective."""
        return self._session.group.from_first(self._failed_exports)

    def _export(self, folder):
        """Export a checkpoint that is complete, if it is due.  Not collective: rank 0's work."""
        self._count += 1
        if self._exports and self._count % self._every == 0:
            self._add(folder)

    def _add(self, folder):
        """Export a model; where that fails the run goes on, and the next one is tried: servers keep the one that they have."""
        try:
            self._exports.add(folder)
        except (DataError, OSError) as error:
            self._failed_exports += 1
            say(f"deshpc: warning: the model in {folder} is not exported: {error}; training goes on\n")

    def load_best(self, steps):
        """Fill the model, which has no rows, from the run's folder: the best one, of so many steps.  Collective."""
        model, folder = self._session.model, run_model(self._directory)

        def look():
            require_best(folder, steps, self._best_run)
            return read_manifest(folder)

        load_model(model, folder, model.group.together(look))

    def _manifest(self, steps, progress=None):
        return describe(self._session.model, resolved(self._session.config), self._source, steps, progress, self._run)
