"""The elementwise kernels for Numba CUDA: a thread an element.  Imported where there is a device, or to compile for one.

CUDA C++ is for kernels that need shared memory, warps, atomics or 16-byte loads; these need none of it, and their bodies
are ordinary functions that tests run as they are.
"""

from functools import lru_cache

from numba import cuda, types
from numba.cuda import libdevice
from numba.cuda.extending import overload

from deshpc.backend.cuda import elementwise
from deshpc.jit import cache_problem, keep

THREADS = 256

# Else each new number of blocks below 128 is a warning: a model with few dense parameters has no more for them.
cuda.config.CUDA_LOW_OCCUPANCY_WARNINGS = 0


@overload(elementwise.product, target="cuda")
def _product(a, b):
    # NVVM turns a b + c into one instruction that rounds once, and numba-cuda has no option against it.  A product with
    # its rounding spelled out is left alone, so that the same source gives the CPU's bits.
    if a == b == types.float32:
        return lambda a, b: libdevice.fmul_rn(a, b)
    if a == b == types.float64:
        return lambda a, b: libdevice.dmul_rn(a, b)
    return None


_log_loss = cuda.jit(device=True)(elementwise.log_loss)
_squared_loss = cuda.jit(device=True)(elementwise.squared_loss)
_poisson_loss = cuda.jit(device=True)(elementwise.poisson_loss)
_weigh = cuda.jit(device=True)(elementwise.weigh)
_begin_logit = cuda.jit(device=True)(elementwise.begin_logit)
_from_fixed_point = cuda.jit(device=True)(elementwise.from_fixed_point)
_add_rounded = cuda.jit(device=True)(elementwise.add_rounded)
_sizes = cuda.jit(device=True)(elementwise.sizes)
_squares = cuda.jit(device=True)(elementwise.squares)
_update_dense = cuda.jit(device=True)(elementwise.update_dense)


def log_loss(n, shift, logit, labels, scale, gradient, losses):
    i = cuda.grid(1)
    if i < n:
        _log_loss(i, shift, logit, labels, scale, gradient, losses)


def squared_loss(n, shift, logit, labels, scale, gradient, losses):
    i = cuda.grid(1)
    if i < n:
        _squared_loss(i, shift, logit, labels, scale, gradient, losses)


def poisson_loss(n, shift, logit, labels, scale, gradient, losses):
    i = cuda.grid(1)
    if i < n:
        _poisson_loss(i, shift, logit, labels, scale, gradient, losses)


def weigh(n, weights, gradient, losses):
    i = cuda.grid(1)
    if i < n:
        _weigh(i, weights, gradient, losses)


def begin_logit(n, logit, bias):
    i = cuda.grid(1)
    if i < n:
        _begin_logit(i, logit, bias)


def from_fixed_point(n, sums, inverse_scale, numbers):
    i = cuda.grid(1)
    if i < n:
        _from_fixed_point(i, sums, inverse_scale, numbers)


def add_rounded(n, numbers, scale, sums):
    i = cuda.grid(1)
    if i < n:
        _add_rounded(i, numbers, scale, sums)


def sizes(n, numbers, result):
    i = cuda.grid(1)
    if i < n:
        _sizes(i, numbers, result)


def squares(n, numbers, result):
    i = cuda.grid(1)
    if i < n:
        _squares(i, numbers, result)


def update_dense(n, rule, field, clip, values, state, gradient):
    i = cuda.grid(1)
    if i < n:
        _update_dense(i, rule, field, clip, values, state, gradient)


PYTHON = {
    function.__name__: function
    for function in (
        log_loss, squared_loss, poisson_loss, weigh, begin_logit, from_fixed_point, add_rounded, sizes, squares, update_dense
    )
}
"""The kernels before compilation, by the name of their body."""


def compiled(name):
    """The kernel of the body `name`, compiled at its first launch for each set of types and cached on disk."""
    from numba.cuda.dispatcher import CUDACache  # which Numba's simulator of a device has not

    kernel = cuda.jit(fastmath=False)(PYTHON[name])
    if not cache_problem():
        keep(kernel, CUDACache)
    return kernel


@lru_cache(maxsize=1024)
def numba_array(address, shape, dtype):
    """An array of the device as Numba's own, made once: of any other Numba makes two at every launch.

    It keeps no memory alive, as whoever launches a kernel does, and names no stream, for which Numba would wait.
    """
    interface = {"version": 3, "data": (address, False), "shape": shape, "typestr": dtype.str}
    return cuda.from_cuda_array_interface(interface, sync=False)
