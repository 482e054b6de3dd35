"""Eight bytes as one word: against Python's bytes, int() and the definition of a key."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deshpc.formats.word import SHORT_BITS, byte_at, digit_bits, digits_value, has_separator, word
from deshpc.hashing.key import field_seed, key
from deshpc.hashing.xxh64 import hash_key_of_word
from deshpc.jit import kernel


@kernel
def looked_at(data, i, seed):
    """What the functions on words say of data[i:i + 8]: byte 3, separator, digits, their value, keys of 0 .. 8 bytes."""
    text = word(data, i)
    bits = digit_bits(text)
    value = digits_value(text, min(bits, SHORT_BITS))
    keys = np.empty(9, np.uint64)
    for length in range(np.uint64(9)):
        keys[length] = hash_key_of_word(text, length, seed, np.uint64(7))
    return text, byte_at(text, np.uint64(24)), has_separator(text), bits, value, keys


LIKELY = st.lists(st.sampled_from(b"0123456789\t\n\r/:-. \x0f\x10\x00\x7f\x80\xb0\xff"), min_size=8, max_size=8).map(bytes)


@settings(max_examples=300, deadline=None)
@given(text=LIKELY | st.binary(min_size=8, max_size=8), shift=st.integers(0, 7), field=st.sampled_from(["C1", "feature"]))
@example(text=b"12345678", shift=3, field="C1")
@example(text=b"99999990", shift=0, field="C1")
@example(text=b"00000000", shift=1, field="C1")
def test_words(text, shift, field):
    data = np.frombuffer(b"#" * shift + text, np.uint8)
    number, third, separator, bits, value, keys = looked_at(data, shift, np.uint64(field_seed(field)))
    digits = len(text) - len(text.lstrip(b"0123456789"))
    assert number == int.from_bytes(text, "little")
    assert third == text[3]
    assert separator == (min(text) < 16)
    assert bits == 8 * digits
    assert value == int(text[: min(digits, 7)] or b"0")
    assert keys.tolist() == [key(7, field, text[:length]) for length in range(9)]


@pytest.mark.parametrize("field", ["C1", "C26", ""])
def test_a_hash_of_zero(field):
    """The one word whose hash is 0: the steps undone, from the last one, in which 0 stays 0."""
    size, seed = 2**64, field_seed(field)
    prime_1, prime_2, prime_4, prime_5 = (
        0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5,
    )  # fmt: skip

    def rotate_right(x, bits):
        return (x >> bits | x << (64 - bits)) % size

    lane = rotate_right(-prime_4 * pow(prime_1, -1, size) % size, 27) ^ (seed + prime_5 + 8) % size
    text = rotate_right(lane * pow(prime_1, -1, size) % size, 31) * pow(prime_2, -1, size) % size
    data = np.frombuffer(text.to_bytes(8, "little"), np.uint8)
    assert looked_at(data, 0, np.uint64(seed))[-1][8] == key(7, field, data.tobytes()) == 7 << 32
