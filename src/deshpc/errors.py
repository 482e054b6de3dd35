"""The errors that deshpc raises, and the exit code that each one means."""


class DeshpcError(Exception):
    """Base class: something that the user can put right.  The message says what and how.

    agreed : ranks that raise it together: one of them reports it
    """

    exit_code, agreed = 1, 1

    def shared_by(self, ranks):
        """This error, as one that so many ranks raise together."""
        self.agreed = ranks
        return self


class ConfigError(DeshpcError):
    """A bad configuration value or command-line option."""

    exit_code = 2


class DataError(DeshpcError):
    """Input data that cannot be read: names the file, the line and the field."""

    exit_code = 3


class LaunchError(DeshpcError):
    """The way in which the ranks were started, or the machine they run on, does not fit the run."""

    exit_code = 4


class RankError(DeshpcError):
    """Raised on every rank when one or more ranks failed; names those ranks."""

    exit_code = 1


class Stopped(DeshpcError):
    """A run has ended before its end, as it was asked to, and can go on: raised on every rank, behind a checkpoint.

    why : such as "SIGTERM" or "the time limit"
    steps : that the run has made, over all calls
    directory : of the run, whose newest checkpoint has them
    command : that goes on, where it is known
    begun : whether there is a checkpoint; without one no step was made, and nothing is lost by beginning again
    """

    exit_code = 75

    def __init__(self, why, steps, directory, command=None, begun=True):
        self.why, self.steps, self.directory, self.command, self.begun = why, steps, directory, command, begun
        how = f": {command}" if command else " by resume=True"
        where = f"after step {steps:,}; the checkpoint is in {directory}" if begun else f"before the first step of the run in {directory}"
        super().__init__(f"stopped by {why} {where}; go on{how}")

    def of(self, directory=None, command=None):
        """The same, of another folder, or with the command that goes on."""
        return type(self)(self.why, self.steps, directory or self.directory, command or self.command, self.begun).shared_by(self.agreed)


class OutOfMemory(MemoryError):
    """Memory that was refused during a run.  where : in which stage of which step"""

    def __init__(self, message, where):
        super().__init__(message)
        self.where = where


def did_you_mean(name, names):
    """The end of a message about a name that is not known: the nearest of some names; empty where there are none."""
    import difflib

    near = difflib.get_close_matches(str(name), list(names), n=1, cutoff=0.0)
    return f"; did you mean {near[0]!r}?" if near else ""
