"""The Numba CUDA kernels, compiled without a device, and run by Numba's simulator of one."""

import os
import re
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from compile_gates.tools import reason_to_skip
from launching import TIMEOUT_S
from numba import types

from deshpc.backend.cuda import elementwise

pytestmark = pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip()))

LOSSES = ("log_loss", "squared_loss", "poisson_loss")
BODIES = (*LOSSES, "weigh", "begin_logit", "from_fixed_point", "add_rounded", "sizes", "squares", "update_dense")
CAPABILITIES = ((7, 5), (8, 0), (9, 0), (10, 0))


def signature(name, number):
    n, numbers, doubles = types.int64, number[::1], types.float64[::1]
    return {
        **dict.fromkeys(LOSSES, (n, number, numbers, types.float32[::1], number, numbers, doubles)),
        "weigh": (n, types.float32[::1], numbers, doubles),
        "begin_logit": (n, numbers, numbers),
        "from_fixed_point": (n, types.int64[::1], types.float64, numbers),
        "add_rounded": (n, numbers, types.float64, types.int64[::1]),
        "sizes": (n, numbers, doubles),
        "squares": (n, numbers, doubles),
        "update_dense": (n, types.int32, numbers, number, numbers, numbers, numbers),
    }[name]


@pytest.fixture
def ptx(monkeypatch):
    """Function(python_function, signature, capability) that gives its PTX."""
    from numba import cuda
    from numba.cuda import dispatcher

    def compile_for(function, arguments, capability):
        # device functions are compiled for the device in use, of which there is none
        monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=capability))
        return cuda.compile(function, arguments, cc=capability, abi="numba", output="ptx")[0]

    return compile_for


def kernels():
    from deshpc.backend.cuda import numba_kernels

    return numba_kernels.PYTHON


def test_every_body_is_here():
    assert set(BODIES) == set(kernels())


@pytest.mark.thorough(100)
@pytest.mark.parametrize("capability", CAPABILITIES, ids=str)
@pytest.mark.parametrize("number", [types.float32, types.float64], ids=str)
@pytest.mark.parametrize("name", BODIES)
def test_compiles_without_local_memory(ptx, name, number, capability):
    text = ptx(kernels()[name], signature(name, number), capability)
    assert f".target sm_{capability[0]}{capability[1]}" in text
    assert ".local" not in text


@pytest.mark.parametrize("number", [types.float32, types.float64], ids=str)
def test_sums_of_the_type_of_their_numbers(ptx, number):
    ptx(kernels()["from_fixed_point"], (types.int64, number[::1], number, number[::1]), (9, 0))


def fusible(text):
    """Products without a rounding of their own that an addition takes up, and fused ones."""
    products = set(re.findall(r"mul\.f(?:32|64)\s+(%\w+),", text))
    additions = re.findall(r"(?:add|sub)\.(?:rn\.)?f(?:32|64)\s+%\w+, ([^,;]+), ([^,;]+);", text)
    return [pair for pair in additions if products & set(pair)] + re.findall(r"fma\.rn\.f(?:32|64)[^;]*;", text)


@pytest.mark.thorough(100)
@pytest.mark.parametrize("number", [types.float32, types.float64], ids=str)
@pytest.mark.parametrize("name", [name for name in BODIES if name not in ("log_loss", "poisson_loss")])
def test_no_product_is_fused_with_a_sum(ptx, name, number):
    text = ptx(kernels()[name], signature(name, number), (9, 0))
    assert not fusible(text)
    assert name != "update_dense" or "mul.rn" in text


@pytest.mark.parametrize("number", [types.float32, types.float64], ids=str)
def test_losses_fuse_inside_exp_and_log_alone(ptx, number):
    from math import exp, expm1, log

    def exp_and_log(n, a, b):
        e = exp(-abs(a[n]))
        b[n] = log(1.0 + e)

    alone = ptx(exp_and_log, (types.int64, number[::1], types.float64[::1]), (9, 0))
    text = ptx(kernels()["log_loss"], signature("log_loss", number), (9, 0))
    assert text.count("fma.rn") == alone.count("fma.rn") > 0

    def functions_of_poisson(n, a, b):
        z = a[n]
        a[n] = exp(z)
        if b[n] == 0.0:
            b[n] = exp(np.float64(z))
        else:
            b[n] = expm1(log(b[n + 2]))

    alone = ptx(functions_of_poisson, (types.int64, number[::1], types.float64[::1]), (9, 0))
    text = ptx(kernels()["poisson_loss"], signature("poisson_loss", number), (9, 0))
    assert text.count("fma.rn") == alone.count("fma.rn") > 0


def test_fused_products_would_be_seen(ptx):
    def sum_of_products(n, a, b):
        b[n] = a[n] * a[n + 1] + b[n]

    assert fusible(ptx(sum_of_products, (types.int64, types.float32[::1], types.float32[::1]), (9, 0)))


def test_arguments_of_the_body(ptx):
    """A kernel has its body's parameters, the number of elements in place of the element's."""
    for name, kernel in kernels().items():
        names = kernel.__code__.co_varnames[1 : kernel.__code__.co_argcount]
        body = getattr(elementwise, name).__code__
        assert names == body.co_varnames[1 : body.co_argcount], name


def test_the_cache_is_that_of_all_kernels():
    from deshpc.backend.cuda.numba_kernels import compiled
    from deshpc.jit import cache_directory

    assert compiled("squares")._cache.cache_path.startswith(str(cache_directory()))


def test_few_blocks_are_no_warning(monkeypatch):
    """And would be one, if Numba's setting were as it comes."""
    from numba import cuda

    from deshpc.backend.cuda.numba_kernels import compiled

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled("squares")[1, 256]
        monkeypatch.setattr(cuda.config, "CUDA_LOW_OCCUPANCY_WARNINGS", 1)
        with pytest.raises(Warning, match="low occupancy"):
            compiled("squares")[1, 256]


def inputs(number):
    """{name: arguments of a body} on twelve elements."""
    draw, n = np.random.default_rng(5), 12

    def numbers(count=n):
        return draw.normal(size=count).astype(number)

    cases = {
        **{
            name: (number(0.5), numbers(), np.arange(n, dtype=np.float32) % 2, number(0.25), numbers(), np.zeros(n)) for name in LOSSES
        },
        "weigh": (np.arange(n, dtype=np.float32) / 4, numbers(), draw.random(n)),
        "begin_logit": (numbers(), numbers(1)),
        "from_fixed_point": (draw.integers(-(10**6), 10**6, n), 2.0**-20, numbers()),
        "squares": (numbers(), np.zeros(n)),
    }
    fields = np.abs(numbers(8)) + number(0.5)
    for rule, planes in ((0, 0), (1, 1), (3, 2), (4, 2)):
        state = np.abs(numbers(planes * n))
        cases[f"update_dense {rule}"] = (np.int32(rule), fields, number(0.5), numbers(), state, numbers())
    return cases


def run_simulated():
    """What the subprocess below does: every kernel against a loop over its body."""
    from numba import cuda

    from deshpc.backend.cuda.numba_kernels import PYTHON

    for number in (np.float32, np.float64):
        for case, arguments in inputs(number).items():
            name = case.split()[0]
            expected = [np.copy(one) if isinstance(one, np.ndarray) else one for one in arguments]
            for i in range(12):
                getattr(elementwise, name)(i, *expected)
            cuda.jit(PYTHON[name])[2, 8](np.int64(12), *arguments)  # 16 threads, of which four have nothing to do
            for given, wanted in zip(arguments, expected, strict=True):
                np.testing.assert_array_equal(given, wanted, err_msg=f"{case} {number.__name__}")
    print("all the same")


def test_simulated_kernels_do_what_their_bodies_do():
    script = "import runpy, sys; runpy.run_path(sys.argv[1])['run_simulated']()"
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", script, __file__], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.stdout.strip() == "all the same", done.stderr
