"""NVIDIA's compiler and disassembler, of the packages on PyPI in the `test` extra."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, files

_WHERE = {"nvidia-cuda-nvrtc": "libnvrtc.so", "nvidia-cuda-cuobjdump": "cuobjdump", "nvidia-cuda-nvdisasm": "nvdisasm"}


def reason_to_skip():
    """Why nothing can be compiled here, or None.  On Linux x86-64 that is no reason: the packages belong there."""
    if sys.platform == "linux" and platform.machine() == "x86_64":
        return None
    missing = [package for package in _WHERE if _path(package) is None]
    return f"without {', '.join(missing)}" if missing else None


def path_of(package):
    """The library or program of a package."""
    path = _path(package)
    if path is None:
        raise FileNotFoundError(f"{package} is not installed: pip install 'deshpc[test]'")
    return path


def _path(package):
    try:
        return next((str(file.locate()) for file in files(package) or () if file.name.startswith(_WHERE[package])), None)
    except PackageNotFoundError:
        return None
