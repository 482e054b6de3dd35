"""Numbers in text: against Python's float()."""

import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
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
    subnormal = rng.integers(0, 2**52, 2000).view(np.float64)
    for x in np.concatenate([bits[np.isfinite(bits)], ordinary, subnormal]).tolist():
        assert parse(repr(x)) == parse(f"{x:.16e}") == x


@settings(deadline=None)  # the first example compiles
@given(st.from_regex(r"[+-]?([0-9]{1,40}|[0-9]{1,40}\.[0-9]{0,40}|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?", fullmatch=True))
def test_any_digits_are_rounded_correctly(text):
    assert parse(text) == (float(text) if math.isfinite(float(text)) else MALFORMED)


@settings(deadline=None)
@given(st.integers(0, (0x7FF << 52) - 2), st.sampled_from([0, 1, -1]), st.integers(1, 60), st.booleans())
@example(0, 0, 1, True)  # the middle of 0 and the smallest number
@example((0x7FF << 52) - 1, 0, 1, False)  # what rounds to infinity
@example((0x7FF << 52) - 1, -1, 1, False)  # what does not
@example((1 << 52) - 1, 0, 1, False)  # the largest subnormal number and the next
def test_the_middle_of_two_neighbours_and_a_hair_beside_it(bits, side, digits, point):
    """A tie goes to the even one, and a digit however far behind decides: as in Python's float()."""
    low = Fraction(struct.unpack("<d", struct.pack("<q", bits))[0])
    above = bits + 1 if bits < (0x7FF << 52) - 1 else None
    high = Fraction(struct.unpack("<d", struct.pack("<q", above))[0]) if above else Fraction(2) ** 1024
    middle = (low + high) / 2
    power = max(1, middle.denominator.bit_length() - 1)  # 2^-p has p decimals
    whole = middle * 10 ** (power + digits) + side
    text = str(int(whole)).rjust(power + digits + 1, "0")
    text = f"{text[: -power - digits]}.{text[-power - digits :]}" if point else f"{text}e-{power + digits}"
    expected = float(text)
    assert parse(text) == (expected if math.isfinite(expected) else MALFORMED)


def test_as_many_digits_as_a_row_may_hold():
    assert parse("0." + "0" * 200_000 + "1e200001") == 1.0
    assert parse("1" + "0" * 200_000 + "e-200000") == 1.0
    assert parse("9007199254740993" + "0" * 5000 + "1e-5001") == float("9007199254740993" + "0" * 5000 + "1e-5001")
    assert parse("1" * 300_000 + "e-299999") == 10 / 9
