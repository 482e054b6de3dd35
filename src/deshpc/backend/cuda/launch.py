"""The one way to launch a CUDA kernel: by its prototype.

Neither CUDA nor CuPy checks what a kernel is given: a missing argument, an int64 array for an int32 one or a Python
number of the wrong width are read as garbage.  So every launch is held against the kernel's own prototype: the number of
arguments, the type and contiguity of arrays, the range of integers.
"""

from functools import cache

import numpy as np

from deshpc.backend.cuda.source import prototypes, text_of
from deshpc.errors import DeshpcError

_MOST_BLOCKS = 2**31 - 1
_BYTE = np.dtype(np.uint8)  # a pointer to bytes takes any array


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
        self._converted = _converter(parameters)

    def __call__(self, count, *arguments):
        self.blocks(-(-count // self.threads), *arguments)

    def blocks(self, blocks, *arguments):
        if len(arguments) != len(self._parameters):
            raise DeshpcError(f"{self._name}: {len(arguments)} arguments for {len(self._parameters)} parameters")
        if blocks > _MOST_BLOCKS:
            raise DeshpcError(f"{self._name}: {blocks} blocks, more than a launch can have")
        try:
            converted = self._converted(*arguments)
        except _Refused as why:
            raise DeshpcError(f"{self._name}: {why}") from None
        if blocks > 0:
            self._device.launch(self._function, blocks, self.threads, converted)


class _Refused(Exception):
    pass


def _converter(parameters):
    """Function(*arguments) -> [the arguments as a launch takes them], which raises _Refused.

    A step has hundreds of arguments, and Python takes as long for a call as for a check.  So the checks of a kernel are one
    expression, made from its prototype once:

        lambda a0, a1: [
            a0 if a0 is None or type(a0) in arrays and a0.dtype is dtype0 and a0.flags.c_contiguous else array(parameter0, a0, arrays),
            number1(a1) if type(a1) is int and -2147483648 <= a1 <= 2147483647 else whole(parameter1, a1),
        ]

    arrays are the classes that have been seen to be arrays of the device.  Whatever is not known to fit so quickly is left to
    the functions below, which say what is wrong, if anything is.  No argument is kept to be recognised: that would keep its
    memory.
    """
    scope, terms = {"arrays": set(), "array": _array, "whole": _whole, "real": _real}, []
    for i, parameter in enumerate(parameters):
        dtype = parameter.dtype
        scope |= {f"parameter{i}": parameter, f"dtype{i}": dtype, f"number{i}": dtype.type}
        if parameter.pointer:
            typed = "" if dtype == _BYTE else f"a{i}.dtype is dtype{i} and "
            fits = f"a{i} is None or type(a{i}) in arrays and {typed}a{i}.flags.c_contiguous"
            terms.append(f"a{i} if {fits} else array(parameter{i}, a{i}, arrays)")
        elif dtype.kind == "f":
            terms.append(f"number{i}(a{i}) if type(a{i}) is float or type(a{i}) is number{i} else real(parameter{i}, a{i})")
        else:
            low, high = _limits(dtype)
            terms.append(f"number{i}(a{i}) if type(a{i}) is int and {low} <= a{i} <= {high} else whole(parameter{i}, a{i})")
    names = ", ".join(f"a{i}" for i in range(len(terms)))
    return eval(f"lambda {names}: [{', '.join(terms)}]", scope)


@cache
def _limits(dtype):
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _array(parameter, array, arrays):
    """arrays : set of classes, to which that of an array of the device is added"""
    dtype = getattr(array, "dtype", None)
    if dtype is None or not hasattr(array, "shape") or isinstance(array, np.ndarray | np.generic):
        raise _Refused(f"{parameter.name} is {type(array).__name__}, not an array of the device")
    if dtype != parameter.dtype and parameter.dtype != _BYTE:
        raise _Refused(f"{parameter.name} is an array of {dtype}, not of {parameter.dtype}")
    if not array.flags.c_contiguous:
        raise _Refused(f"{parameter.name} is not contiguous")
    arrays.add(type(array))
    return array


def _whole(parameter, number):
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise _Refused(f"{parameter.name} is {number!r}, not a whole number")
    low, high = _limits(parameter.dtype)
    if not low <= number <= high:
        raise _Refused(f"{parameter.name} is {number}, beyond {parameter.dtype}")
    return parameter.dtype.type(number)


def _real(parameter, number):
    if not isinstance(number, float | np.floating):
        raise _Refused(f"{parameter.name} is {number!r}, not a floating-point number")
    return parameter.dtype.type(number)
