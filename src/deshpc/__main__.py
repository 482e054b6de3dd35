"""`python -m deshpc`."""

import sys

from deshpc.cli.main import main

sys.exit(main())
