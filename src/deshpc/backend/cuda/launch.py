"""The one way to launch a CUDA kernel: by its prototype.

Neither CUDA nor CuPy checks what a kernel is given: a missing argument, an int64 array for an int32 one or a Python
number of the wrong width are read as garbage.  So every launch is held against the kernel's own prototype: the number of
arguments, the type and contiguity of arrays, the range of integers.

A pointer `x` with a number `x_row` behind it takes one array of two dimensions, whose rows may lie apart: the kernel is told
by how many numbers.
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
        self._arguments = len(parameters) - sum(map(_is_matrix, parameters, parameters[1:]))
        self._converted = _converter(parameters)

    def __call__(self, count, *arguments):
        self.blocks(-(-count // self.threads), *arguments)

    def blocks(self, blocks, *arguments):
        if len(arguments) != self._arguments:
            raise DeshpcError(f"{self._name}: {len(arguments)} arguments for {self._arguments} parameters")
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
    scope, terms = {"arrays": set(), "array": _array, "matrix": _matrix, "row": np.int64, "whole": _whole, "real": _real}, []
    rows = {i + 1 for i in range(len(parameters) - 1) if _is_matrix(*parameters[i : i + 2])}
    for i, parameter in enumerate(parameters):
        if i in rows:
            continue
        dtype = parameter.dtype
        scope |= {f"parameter{i}": parameter, f"dtype{i}": dtype, f"number{i}": dtype.type}
        if i + 1 in rows:
            size = dtype.itemsize
            typed = f"type(a{i}) in arrays and a{i}.dtype is dtype{i} and a{i}.ndim == 2"
            fits = f"{typed} and a{i}.strides[1] == {size} and not a{i}.strides[0] % {size}"
            terms.append(f"*((a{i}, row(a{i}.strides[0] // {size})) if {fits} else matrix(parameter{i}, a{i}, arrays))")
        elif parameter.pointer:
            typed = "" if dtype == _BYTE else f"a{i}.dtype is dtype{i} and "
            fits = f"a{i} is None or type(a{i}) in arrays and {typed}a{i}.flags.c_contiguous"
            terms.append(f"a{i} if {fits} else array(parameter{i}, a{i}, arrays)")
        elif dtype.kind == "f":
            terms.append(f"number{i}(a{i}) if type(a{i}) is float or type(a{i}) is number{i} else real(parameter{i}, a{i})")
        else:
            low, high = _limits(dtype)
            terms.append(f"number{i}(a{i}) if type(a{i}) is int and {low} <= a{i} <= {high} else whole(parameter{i}, a{i})")
    names = ", ".join(f"a{i}" for i in range(len(parameters)) if i not in rows)
    return eval(f"lambda {names}: [{', '.join(terms)}]", scope)


@cache
def _limits(dtype):
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _is_matrix(parameter, following):
    return parameter.pointer and following.name == f"{parameter.name}_row" and following.dtype == np.int64


def _array(parameter, array, arrays):
    """arrays : set of classes, to which that of an array of the device is added"""
    _require_type(parameter, array)
    if not array.flags.c_contiguous:
        raise _Refused(f"{parameter.name} is not contiguous")
    arrays.add(type(array))
    return array


def _matrix(parameter, array, arrays):
    """(the array, numbers from one row to the next);  arrays : as above"""
    if array is None:
        return None, np.int64(0)
    _require_type(parameter, array)
    if array.ndim != 2:
        raise _Refused(f"{parameter.name} has {array.ndim} dimensions, not rows and columns")
    size = array.dtype.itemsize
    row, column = array.strides
    if (array.shape[1] > 1 and column != size) or row % size:
        raise _Refused(f"{parameter.name} has strides of {row} and {column} bytes; the numbers of a row have to lie side by side")
    arrays.add(type(array))
    return array, np.int64(row // size)


def _require_type(parameter, array):
    dtype = getattr(array, "dtype", None)
    if dtype is None or not hasattr(array, "shape") or isinstance(array, np.ndarray | np.generic):
        raise _Refused(f"{parameter.name} is {type(array).__name__}, not an array of the device")
    if dtype != parameter.dtype and parameter.dtype != _BYTE:
        raise _Refused(f"{parameter.name} is an array of {dtype}, not of {parameter.dtype}")


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
