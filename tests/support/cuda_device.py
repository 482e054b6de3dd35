"""Which device the CUDA tests run on: the executor, or with DESHPC_TEST_DEVICE=cuda the first real one."""

import os

REAL = os.environ.get("DESHPC_TEST_DEVICE", "executor") == "cuda"
