"""XXH64 and the key of a feature: published vectors, the `xxhash` package, and the reserved zero."""

import random
import subprocess
import sys

import numpy as np
import pytest

from deshpc.hashing import key as key_module
from deshpc.hashing.key import field_seed, key, xxh64_python
from deshpc.hashing.key_fields import fields_of, is_key_of
from deshpc.hashing.xxh64 import hash_key, xxh64

# (input, seed, XXH64).  The first seven are in the tests of Zig's standard library (xxhash.zig); the others are in
# the tests of further ports of XXH64, which check them against the reference implementation.
VECTORS = [
    (b"", 0, 0xEF46DB3751D8E999),
    (b"a", 0, 0xD24EC4F1A98C6E5B),
    (b"abc", 0, 0x44BC2CF5AD770999),
    (b"message digest", 0, 0x066ED728FCEEB3BE),
    (b"abcdefghijklmnopqrstuvwxyz", 0, 0xCFE1F278FA89835C),
    (b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 0, 0xAAA46907D3047814),
    (b"1234567890" * 8, 0, 0xE04A477F19EE145D),
    (b"Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
    (bytes(range(256)), 0, 0x1FACBE8406CD904B),
    (b"", 0x9E3779B1, 0xAC75FDA2929B17EF),
    (b"abc", 0x9E3779B1, 0x1318DF30094A85FD),
    (b"Nobody inspects the spammish repetition", 0x9E3779B1, 0x56DB22DD5B051147),
    (bytes(range(256)), 0x9E3779B1, 0xD48195F45908996C),
]


def compiled(function, data, seed, *field):
    """A kernel's result for `data` at an odd place inside a larger array."""
    inside = np.frombuffer(b"\xff\xff\xff" + data + b"\xff" * 40, np.uint8)
    return int(function(inside, 3, 3 + len(data), np.uint64(seed), *field))


@pytest.mark.parametrize(("data", "seed", "expected"), VECTORS)
def test_published_vectors(data, seed, expected):
    assert xxh64_python(data, seed) == expected
    assert compiled(xxh64, data, seed) == expected


def test_every_length_against_the_xxhash_package():
    xxhash = pytest.importorskip("xxhash")
    source = random.Random(5)
    for length in range(201):
        for seed in (0, 2**64 - 1, source.getrandbits(64)):
            data = source.randbytes(length)
            expected = xxhash.xxh64_intdigest(data, seed)
            assert xxh64_python(data, seed) == expected, (length, seed)
            assert compiled(xxh64, data, seed) == expected, (length, seed)


def test_key_is_the_field_and_the_hash_of_the_value_seeded_by_the_hash_of_the_name():
    xxhash = pytest.importorskip("xxhash")
    for field, name, value in ((0, "c0", "17"), (1, "user_id", ""), (300, "país", "España"), (65_535, "c1", b"\xff\x00" * 50)):
        data = value if isinstance(value, bytes) else value.encode()  # bytes need not be text
        seed = xxhash.xxh64_intdigest(name.encode())
        digits = f"{xxhash.xxh64_intdigest(data, seed):016x}"
        expected = int(f"{digits[:4]}{field:04x}{digits[8:]}", 16)
        assert field_seed(name) == seed
        assert key(field, name, value) == key(field, name, data) == expected
        assert compiled(hash_key, data, seed, field) == compiled(hash_key, data, seed, np.uint64(field)) == expected
        assert fields_of(np.array([expected], np.uint64)).tolist() == [field]


def test_equal_values_of_two_fields_have_different_keys():
    assert key(0, "c0", "1") != key(1, "c1", "1")


def value_with_hash_zero(seed):
    """The one 8-byte value whose XXH64 is 0: the steps of an 8-byte value undone, from the last to the first."""
    modulus = 2**64

    def rotate_right(x, bits):
        return (x >> bits | x << (64 - bits)) % modulus

    inverse_1, inverse_2 = pow(key_module.PRIME_1, -1, modulus), pow(key_module.PRIME_2, -1, modulus)
    state = rotate_right(-key_module.PRIME_4 * inverse_1 % modulus, 27)  # the final mixing maps 0 to 0
    lane = state ^ (seed + key_module.PRIME_5 + 8) % modulus
    word = rotate_right(lane * inverse_1 % modulus, 31) * inverse_2 % modulus
    return word.to_bytes(8, "little")


def test_no_key_is_zero():
    seed = field_seed("c0")
    value = value_with_hash_zero(seed)
    assert xxh64_python(value, seed) == compiled(xxh64, value, seed) == 0
    assert key(0, "c0", value) == compiled(hash_key, value, seed, 0) == 0x9E3700007F4A7C15
    assert key(2, "c0", value) == compiled(hash_key, value, seed, 2) == 2 << 32


def test_saved_models_depend_on_these_numbers():
    assert key_module.HASH_ID == "xxh64-48-field-16"
    assert key(0, "c0", "1") == 0xBD0300005D7AEA3A
    assert key(5, "c0", "1") == 0xBD0300055D7AEA3A


def test_key_needs_neither_numba_nor_numpy():
    program = (
        "import sys; sys.modules['numba'] = sys.modules['numpy'] = None\n"
        "from deshpc.hashing.key import key; print(key(0, 'c0', '1'))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(result.stdout) == key(0, "c0", "1")


def test_a_key_of_another_field_is_none():
    fields = np.array([0, 3, 65_535, 3], np.uint16)
    keys = np.array([key(field, "c", str(field)) for field in fields.tolist()], np.uint64)
    assert is_key_of(keys, fields).all() and is_key_of(keys[:0], fields[:0]).shape == (0,)
    assert is_key_of(keys, np.array([0, 3, 65_535, 2], np.uint16)).tolist() == [True, True, True, False]
    assert is_key_of(np.array([1, 0, 2], np.uint64), np.zeros(3, np.uint16)).tolist() == [True, False, True]
