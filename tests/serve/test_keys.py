"""Keys of many values at once, against the xxhash package and the definition in plain Python."""

import numpy as np
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from deshpc.hashing import key
from deshpc.serve.keys import keys_of


def plain_keys(texts, fields, seeds):
    """By the xxhash package: four hexadecimal digits of the hash, four of the field, eight of the hash."""
    digits = [f"{xxhash.xxh64_intdigest(text, seed):016x}" for text, seed in zip(texts, seeds.tolist(), strict=True)]
    return [int(f"{one[:4]}{field:04x}{one[8:]}", 16) for one, field in zip(digits, fields.tolist(), strict=True)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=70), st.integers(0, 2**64 - 1)), max_size=40))
def test_few_values_of_any_length(pairs):
    texts, seeds = [text for text, _ in pairs], np.array([seed for _, seed in pairs], np.uint64)
    fields = np.arange(len(pairs)) * 1999 % 65536
    assert keys_of(texts, fields, seeds).tolist() == plain_keys(texts, fields, seeds)


def test_many_values_of_every_length():
    generator = np.random.default_rng(1)
    texts = [generator.bytes(length) for length in range(100) for _ in range(30)]
    seeds = generator.integers(0, 2**64, len(texts), np.uint64)
    order = generator.permutation(len(texts))
    texts, seeds = [texts[i] for i in order], seeds[order]
    fields = generator.integers(0, 2**16, len(texts)).astype(np.uint16)
    assert keys_of(texts, fields, seeds).tolist() == plain_keys(texts, fields, seeds)


def test_keys_of_fields_and_no_values():
    texts = [b"red", b"", "ñ".encode()] * 20
    seeds = np.repeat(np.array([key.field_seed("a"), key.field_seed("b")], np.uint64), 30)
    fields = np.repeat([0, 1], 30)
    expected = [key.key(field, "ab"[field], text) for field, text in zip(fields.tolist(), texts, strict=True)]
    assert keys_of(texts, fields, seeds).tolist() == expected
    assert keys_of([], np.zeros(0, np.int64), np.zeros(0, np.uint64)).shape == (0,)


def test_a_hash_of_zero_gets_the_reserved_key(monkeypatch):
    monkeypatch.setattr(key, "xxh64_python", lambda data, seed: 0)
    keys = keys_of([b"x", b"x"], np.array([0, 3]), np.zeros(2, np.uint64))
    assert keys.tolist() == [0x9E3700007F4A7C15, 3 << 32]
