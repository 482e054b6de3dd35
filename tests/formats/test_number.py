"""Numbers in text: against Python's float()."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deshpc.formats.number import MALFORMED, number

NUMBERS = """
0 -0 1 +1 -1 007 12345678 1.5 .5 5. -.25 1e3 1E3 1e+3 1e-3 2.5e-3 1e22 1e23 123456789012345678 9007199254740993
0.1 0.30000000000000004 1.7976931348623157e308 2.2250738585072014e-308 1e-400 0e999 0.000e-999 1e-323
0.00000000000000000000000000000000000000000000001 100000000000000000000000000000e-29
1000000000000000000000000000000000000000000000 179769313486231570000e289
"""
OTHER_TEXTS = """
nan NaN inf -inf infinity - + . -. e5 .e5 1e 1e+ 1e- 1.2.3 1,5 0x10 1_000 --1 +-1 1a a1 1/ 1: 1e5.0 1e999 -1e999 1.8e308 ١
"""


def parse(text):
    return number(np.frombuffer(b"<" + text.encode() + b">", np.uint8), 1, 1 + len(text.encode()))


@pytest.mark.parametrize("text", NUMBERS.split())
def test_forms(text):
    assert parse(text) == float(text)
    assert parse(f"  {text} ") == float(text)
    assert math.copysign(1, parse(text)) == math.copysign(1, float(text))


@pytest.mark.parametrize("text", ["", " ", "   "])
def test_nothing_is_missing(text):
    assert math.isnan(parse(text))


@pytest.mark.parametrize("text", [*OTHER_TEXTS.split(), "1 2", "- 1", "1 e5", "\t1", "1\n"])
def test_anything_else_is_malformed(text):
    assert parse(text) == MALFORMED


def test_shortest_and_17_digit_texts_of_random_floats_are_read_back():
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 2**64, 20_000, dtype=np.uint64).view(np.float64)  # every exponent
    ordinary = rng.normal(size=20_000) * 10.0 ** rng.integers(-6, 7, 20_000)
    for x in np.concatenate([bits[np.isfinite(bits)], ordinary]).tolist():
        for text in (repr(x), f"{x:.16e}"):
            exact = abs(x) >= sys.float_info.min  # else x is subnormal
            assert abs(parse(text) - x) <= (0 if exact else math.ulp(x))


@settings(deadline=None)  # the first example compiles
@given(st.from_regex(r"[+-]?([0-9]{1,18}|[0-9]{1,9}\.[0-9]{0,9}|\.[0-9]{1,18})([eE][+-]?[0-9]{1,2})?", fullmatch=True))
def test_up_to_18_digits_are_rounded_correctly(text):
    assert parse(text) == float(text)


@settings(deadline=None)  # the first example compiles
@given(st.from_regex(r"[0-9]{1,40}\.[0-9]{1,40}(e-?[0-9]{1,2})?", fullmatch=True))
def test_more_digits_cost_at_most_one_unit_in_the_last_place(text):
    exact = float(text)
    assert abs(parse(text) - exact) <= math.ulp(exact)
