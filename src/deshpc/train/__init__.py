"""Training: the step, the loop, metrics, the run's record, and the Python API.  `deshpc.train(config, comm)` trains."""

import sys
import types


class _CallablePackage(types.ModuleType):
    """`deshpc.train` names this package as soon as any part of it is imported, so the package is the function too."""

    def __call__(self, config, comm):
        """Train; see `deshpc.train.api.train`."""
        from deshpc.train.api import train

        return train(config, comm)


sys.modules[__name__].__class__ = _CallablePackage
