"""`deshpc report`: one file about one or several runs, from their records."""

from deshpc.errors import DataError
from deshpc.report.curves import require_matplotlib
from deshpc.report.page import page
from deshpc.report.run import read_run
from deshpc.storage.whole_file import write_text


def report(paths, out):
    """Write a page about runs, one column each, to the file `out`; returns a line about it.

    paths : folders of runs, or their records.  A run may be under way, or have been broken off.
    DataError where a record cannot be read or `out` cannot be written, ConfigError without matplotlib.
    """
    require_matplotlib()
    runs = [read_run(path) for path in paths]
    try:
        write_text(out, page(runs))
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}") from None
    return f"{out}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}"
