"""The one way to launch a CUDA kernel: by its prototype.

Neither CUDA nor CuPy checks what a kernel is given: a missing argument, an int64 array for an int32 one or a Python
number of the wrong width are read as garbage.  So every launch is held against the kernel's own prototype: the number of
arguments, the type and contiguity of arrays, the range of integers.
"""

import numpy as np

from deshpc.backend.cuda.source import prototypes, text_of
from deshpc.errors import DeshpcError

_MOST_BLOCKS = 2**31 - 1


class Kernels:
    """The kernels of one device, each file compiled once for each set of constants."""

    def __init__(self, device):
        self.device, self._modules = device, {}

    def __call__(self, file, **constants):
        """The kernels of `file` with these constants, as attributes of the result."""
        form = file, tuple(constants.items())
        module = self._modules.get(form)
        if module is None:
            module = self._modules[form] = Module(self.device, file, constants)
        return module


class Module:
    """The kernels of one file with one set of constants; `compiled` is the device's."""

    def __init__(self, device, file, constants):
        self.file, self.constants = file, constants
        self.compiled = device.compile(file, text_of(file), constants)
        for name, (threads, parameters) in prototypes(file, constants).items():
            setattr(self, name, Kernel(device, f"{file}: {name}", self.compiled.function(name), threads, parameters))


class Kernel:
    """One kernel.  `kernel(count, *arguments)` starts at least `count` threads, `kernel.blocks(count, ...)` so many blocks;
    none where count is 0.  Nothing waits for it."""

    def __init__(self, device, name, function, threads, parameters):
        self._device, self._name, self._function, self._parameters = device, name, function, parameters
        self.threads = threads
        self._conversions = [_conversion(parameter) for parameter in parameters]

    def __call__(self, count, *arguments):
        self.blocks(-(-count // self.threads), *arguments)

    def blocks(self, blocks, *arguments):
        if len(arguments) != len(self._conversions):
            raise DeshpcError(f"{self._name}: {len(arguments)} arguments for {len(self._conversions)} parameters")
        if blocks > _MOST_BLOCKS:
            raise DeshpcError(f"{self._name}: {blocks} blocks, more than a launch can have")
        try:
            converted = [convert(argument) for convert, argument in zip(self._conversions, arguments, strict=True)]
        except _Refused as why:
            raise DeshpcError(f"{self._name}: {why}") from None
        if blocks > 0:
            self._device.launch(self._function, blocks, self.threads, converted)


class _Refused(Exception):
    pass


def _conversion(parameter):
    if parameter.pointer:
        return lambda argument: _array(parameter, argument)
    if parameter.dtype.kind == "f":
        return lambda argument: _real(parameter, argument)
    limits = np.iinfo(parameter.dtype)
    low, high, convert = int(limits.min), int(limits.max), parameter.dtype.type
    return lambda argument: _whole(parameter, argument, low, high, convert)


def _array(parameter, array):
    if array is None:
        return None
    dtype = getattr(array, "dtype", None)
    if dtype is None or not hasattr(array, "shape") or isinstance(array, np.ndarray | np.generic):
        raise _Refused(f"{parameter.name} is {type(array).__name__}, not an array of the device")
    if dtype != parameter.dtype and parameter.dtype != np.uint8:  # uint8 stands for bytes
        raise _Refused(f"{parameter.name} is an array of {dtype}, not of {parameter.dtype}")
    if not array.flags.c_contiguous:
        raise _Refused(f"{parameter.name} is not contiguous")
    return array


def _whole(parameter, number, low, high, convert):
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise _Refused(f"{parameter.name} is {number!r}, not a whole number")
    if not low <= number <= high:
        raise _Refused(f"{parameter.name} is {number}, beyond {parameter.dtype}")
    return convert(number)


def _real(parameter, number):
    if not isinstance(number, float | np.floating):
        raise _Refused(f"{parameter.name} is {number!r}, not a floating-point number")
    return parameter.dtype.type(number)
