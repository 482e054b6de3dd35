"""C++ names of the number types that kernels are compiled for."""

import numpy as np

_NAMES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double", np.dtype(np.int64): "int64"}


def kind(like):
    """The C++ type of a NumPy number, dtype or array."""
    return _NAMES[np.dtype(getattr(like, "dtype", like))]
