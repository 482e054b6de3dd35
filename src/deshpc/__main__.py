"""`python -m deshpc`.

Python puts the working directory in front of all modules for `-m`.  It may be a folder of somebody else's files, among them a
numpy.py, so it is taken away again: modules are found as by the command `deshpc`, in the environment and in PYTHONPATH.
"""

import os
import sys

if sys.path[:1] == [os.getcwd()] and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]

from deshpc.cli.main import main  # noqa: E402  nothing but the interpreter's own modules has been imported so far

sys.exit(main())
