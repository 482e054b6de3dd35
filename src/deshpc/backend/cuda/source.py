"""The text of the CUDA kernels: a file with what it includes, and the prototypes in it.

Includes are put in place here, with the lines' origins, so that one text is all that a compiler and its cache see.
"""

import re
from functools import lru_cache
from importlib.resources import files

import numpy as np

from deshpc.errors import DeshpcError

FOLDER = files("deshpc") / "_kernels"

_INCLUDE = re.compile(r'^#include "([^"]+)"$')
_COMMENT = re.compile(r"//[^\n]*")
_KERNEL = re.compile(r'extern "C" __global__ void __launch_bounds__\((\d+)\) (\w+)\(([^)]*)\)')
_TYPES = {
    "uint8": np.uint8, "uint16": np.uint16, "int32": np.int32, "uint32": np.uint32, "int64": np.int64,
    "uint64": np.uint64, "float": np.float32, "double": np.float64,
}  # fmt: skip


@lru_cache
def text_of(name):
    """The file `name` with its includes, each once."""
    return "\n".join(_lines_of(name, set())) + "\n"


def _lines_of(name, seen):
    seen.add(name)
    yield f'#line 1 "{name}"'
    for number, line in enumerate((FOLDER / name).read_text(encoding="utf-8").splitlines(), 1):
        include = _INCLUDE.match(line)
        if include is None:
            yield "" if line.startswith("#pragma once") else line
        elif include[1] not in seen:
            yield from _lines_of(include[1], seen)
            yield f'#line {number + 1} "{name}"'
        else:
            yield ""


class Parameter:
    """One parameter of a kernel: its name, NumPy type, and whether it is a pointer."""

    def __init__(self, text, constants):
        words = text.replace("*", " * ").split()
        self.pointer = "*" in words
        self.name = words[-1]
        kind = next(word for word in words if word not in ("const", "*"))
        kind = str(constants.get(kind, kind))
        if kind not in _TYPES:
            raise DeshpcError(f"parameter {text.strip()!r}: {kind} is no type of kernels' parameters")
        self.dtype = np.dtype(_TYPES[kind])


def prototypes(name, constants):
    """{kernel: (threads of a block, [Parameter])} of the file `name`, its types resolved by `constants`."""
    text = _COMMENT.sub("", text_of(name))
    return {
        kernel: (int(threads), [Parameter(part, constants) for part in parameters.split(",")])
        for threads, kernel, parameters in _KERNEL.findall(text)
    }
