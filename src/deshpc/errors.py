"""The errors that deshpc raises, and the exit code that each one means."""


class DeshpcError(Exception):
    """Base class: something that the user can put right.  The message says what and how."""

    exit_code = 1


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
