"""What is raised when a kernel, a launch or the use of an array is wrong."""


class ExecutorError(Exception):
    """The message says what happened where."""
