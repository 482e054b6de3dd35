"""The checkpoints of a run, as the training loop asks for them."""

from deshpc.checkpoint.checkpoints import Checkpoints
from deshpc.checkpoint.describe import describe
from deshpc.checkpoint.folders import run_model
from deshpc.config import resolved


class RunCheckpoints:
    """The checkpoints of a session's run, as the training loop asks for them."""

    def __init__(self, session):
        checkpoint, self._run = session.config.checkpoint, session.config.run.directory
        self._session, self._source = session, session.input_state()
        self._written = Checkpoints(session.model, self._run, checkpoint.keep, checkpoint.background)
        self.check, self.finish = self._written.check, self._written.finish

    def manifest(self, steps, progress=None):
        """The manifest of the model as it is now."""
        return describe(self._session.model, resolved(self._session.config), self._source, steps, progress)

    def write(self, cursor):
        """Write a checkpoint, with the best model so far, if there is one.  Collective."""
        best = None if cursor.best_step is None else run_model(self._run)
        self._written.write(self.manifest(cursor.steps, cursor.to_json()), best)
