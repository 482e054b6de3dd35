"""Where a run's reports go: into its record, and to its callbacks."""

import traceback
from pathlib import Path
from typing import Any, Protocol

from deshpc.config import Config
from deshpc.errors import ConfigError, DeshpcError

METHODS = ("on_start", "on_progress", "on_evaluation", "on_end")
"""What a callback may have; it has at least one of them."""


class CallbackError(DeshpcError):
    """A callback has raised an exception, `__cause__` on rank 0."""


class Callback(Protocol):
    """What is told of a run on rank 0.  A class that inherits has these methods, which do nothing, and redefines those that it needs."""

    def on_start(self, config: Config) -> None:
        """The run begins."""
        return

    def on_progress(self, entries: dict[str, Any]) -> None:
        """Some steps have been made.  entries : as those of a line "progress" of the record"""
        return

    def on_evaluation(self, entries: dict[str, Any]) -> None:
        """The validation part has been evaluated.  entries : as those of a line "valid" of the record"""
        return

    def on_end(self, result: Any) -> None:
        """The run is over.  result : TrainResult"""
        return


class Reports:
    """Tells a run's record and its callbacks what happens.

    Callbacks are objects with any of the methods on_start(config), on_progress(entries), on_evaluation(entries) and
    on_end(result).  They are called on rank 0, one after the other, after the record has its line.
    An exception of theirs is a CallbackError on every rank; that of on_progress ends the job, as what one rank meets alone does.
    """

    def __init__(self, session, record, callbacks):
        """session : Session, whose watchdog is told of callbacks; callbacks : objects.  Not collective"""
        self._session, self._record, self._callbacks, self._cause = session, record, callbacks, None

    def start(self, config):
        """The run begins.  config : Config.  Collective."""
        self._all_hear("on_start", config)

    def progress(self, **entries):
        """Some steps have been made.  Rank 0's alone."""
        self._record.write("progress", **entries)
        self._tell("on_progress", entries)

    def scored_first(self, **entries):
        """The training part has been scored before it is learnt from.  Not collective."""
        self._record.write("before", **entries)

    def evaluation(self, **entries):
        """The validation part has been evaluated.  Collective."""
        self._record.write("valid", **entries)
        self._all_hear("on_evaluation", entries)

    def checkpoint(self, **entries):
        """A checkpoint was made, or is being written.  Not collective."""
        self._record.write("checkpoint", **entries)

    def paused(self, **entries):
        """The run ends behind a checkpoint, to be gone on with.  Not collective."""
        self._record.write("paused", **entries)

    def stopped(self, **entries):
        """Training stops before its last epoch's end.  Not collective."""
        self._record.write("stopped", **entries)

    def end(self, result):
        """The run is over.  result : TrainResult.  Collective."""
        self._all_hear("on_end", result)

    def _all_hear(self, method, what):
        """Rank 0 calls a method of all callbacks; an exception is raised on every rank.  Collective."""
        group = self._session.group
        try:
            group.together((lambda: self._tell(method, what)) if group.rank == 0 else lambda: None)
        except CallbackError as error:
            raise error from self._cause

    def _tell(self, method, what):
        for callback in self._callbacks:
            call = getattr(callback, method, None)
            if call is None:
                continue
            self._session.enter("callback")
            try:
                call(dict(what) if isinstance(what, dict) else what)
            except DeshpcError:
                raise
            except Exception as error:
                self._cause = error
                raise CallbackError(_described(callback, method, error)) from error


def require_callbacks(callbacks):
    """ConfigError where one has no method that would be called."""
    for one in callbacks:
        if not any(callable(getattr(one, method, None)) for method in METHODS):
            raise ConfigError(f"callbacks: {one!r} has none of the methods {', '.join(METHODS)}")


def _described(callback, method, error):
    place = traceback.extract_tb(error.__traceback__)[-1]
    what = "".join(traceback.format_exception_only(error)).strip()
    return f"the callback {type(callback).__name__}.{method} failed: {what} ({Path(place.filename).name}, line {place.lineno})"
