"""Exports of a training, one after another, into a folder that servers follow (`exports_folder`)."""

from pathlib import Path

from deshpc.errors import DataError
from deshpc.launch.console import say
from deshpc.serve.delta import goes_over, read_with_deltas, write_delta
from deshpc.serve.export import SavedModel
from deshpc.serve.exported import write_rows
from deshpc.serve.exports_folder import begin, newest_chain, numbered, path_of


class Exports:
    """Adds the models of one training to a folder of exports, whole or as deltas.  One process at a time."""

    def __init__(self, folder, full_every=0, keep=0, begins=False, held=lambda: None):
        """full_every, keep : of `[export]`
        begins : the first one is whole, whatever is there
        held : called before a file gets its name, raises unless that is still this training's to do
        """
        self._folder, self._full_every, self._keep, self._begins, self._held = Path(folder), full_every, keep, begins, held
        self._newest = None
        begin(folder)

    def add(self, model_folder):
        """Export the model or checkpoint in a folder, unless it is the one that was exported last; returns the new file, or None.

        It is whole where nothing is there that it could go over: nothing at all, what is damaged, or rows of another form.
        DataError where it cannot be read or written.
        """
        model = SavedModel(model_folder)
        if (model.run, model.steps) == self._newest:
            return None
        number, old = 1 + max(numbered(self._folder), default=-1), self._old(model)
        path = path_of(self._folder, number, old is None)
        about, rows, like, dense = model.contents(path)
        rows = self._while_held(rows)
        if old is None:
            write_rows(path, about, rows, like, dense)
            self._remove_older()
        else:
            write_delta(path, old, about, rows, like, dense)
        self._newest, self._begins = (model.run, model.steps), False
        return path

    def _old(self, model):
        """The ExportedModel over which a delta is to go, None where a whole one is due."""
        if self._begins:
            return None
        try:
            chain = newest_chain(self._folder)
            if not chain or 0 < self._full_every <= len(chain):
                return None
            old = read_with_deltas(*chain)
            return old if goes_over(model.like, old) else None
        except DataError as error:
            say(f"deshpc: warning: {error}; the next export is a whole model\n")
            return None

    def _while_held(self, rows):
        yield from rows
        self._held()

    def _remove_older(self):
        """Remove what is before the newest whole models that are kept, the oldest first."""
        found = numbered(self._folder)
        whole = [number for number, path in found.items() if path.suffix == ".model"]
        for number, path in found.items():
            if self._keep and number < whole[-self._keep :][0]:
                path.unlink()
