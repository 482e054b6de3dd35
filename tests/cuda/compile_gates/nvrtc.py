"""NVRTC without CuPy, which wants a device: text to machine code."""

import ctypes
from functools import cache

from compile_gates.tools import path_of
from deshpc.backend.cuda.device import _OPTIONS


class CompileError(Exception):
    """NVRTC's messages."""


def cubin_of(name, text, constants, capability):
    """The machine code for a compute capability (90 for 9.0), with the options of production."""
    library, program = _library(), ctypes.c_void_p()
    _check(library, library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None))
    try:
        options = [*_OPTIONS, f"-arch=sm_{capability}", *(f"-D{key}={value}" for key, value in constants.items())]
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if library.nvrtcCompileProgram(program, len(options), given) != 0:
            raise CompileError(_read(library, program, "ProgramLog").rstrip(b"\0").decode())
        return _read(library, program, "CUBIN")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _read(library, program, what):
    size = ctypes.c_size_t()
    _check(library, getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    content = ctypes.create_string_buffer(size.value)
    _check(library, getattr(library, f"nvrtcGet{what}")(program, content))
    return content.raw


def _check(library, status):
    if status != 0:
        raise CompileError(library.nvrtcGetErrorString(status).decode())


@cache
def _library():
    library = ctypes.CDLL(path_of("nvidia-cuda-nvrtc"))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library
