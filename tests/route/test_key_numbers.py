"""Keys that home and owner both know, against a dictionary of each pair in plain Python.

A home sends random batches of keys to a rank of its node and to two others, among them batches without keys, batches all of known keys and
of none, long after the dictionaries are full.  Either side says where a key is in the list of its rank's: by field, inside a field the
known ones in the order in which they were sent first, then the others.
"""

import numpy as np
import pytest

from deshpc.backend.arguments import UniqueKeys
from deshpc.backend.cpu import key_numbers
from deshpc.backend.cpu.buffers import Buffers
from deshpc.route import key_numbers as remembered
from deshpc.route.key_numbers import KeyNumbers, most_of_pair

FAR, FIELDS = np.array([True, False, True]), 5


def batch(generator, pool, size):
    """UniqueKeys of some keys of a pool, most of its first ones, and their ranks."""
    places = np.unique((len(pool) * generator.random(size) ** 3).astype(np.int64))
    keys = pool[generator.permutation(places)]
    fields = (keys >> np.uint64(32) & np.uint64(0xFFFF)).astype(np.uint16)
    ranks = (keys % np.uint64(len(FAR))).astype(np.int32)
    return UniqueKeys(keys, fields, ranks, None, None, None)


def code_bytes(known, held):
    """Fewest bytes of gaps of so many numbers, by any number of low bits."""
    return 0 if known == 0 else -(-min(known * (low + 1) + (held - known >> low) for low in range(32)) // 64) * 8


@pytest.mark.parametrize("most", [64, 1 << 12])
def test_both_sides_number_alike(monkeypatch, most):
    monkeypatch.setattr(remembered, "MOST_KEYS", most * len(FAR))
    assert most_of_pair(len(FAR), 1) == most
    generator = np.random.default_rng(most)
    pool = generator.integers(1, 2**32, 4000, dtype=np.uint64) << np.uint64(16) >> np.uint64(16)
    pool = np.unique(pool | generator.integers(0, 2**16, 4000).astype(np.uint64) << np.uint64(48) | np.arange(4000, dtype=np.uint64) % 5 << np.uint64(32))
    generator.shuffle(pool)
    home, owners = KeyNumbers(key_numbers, FAR, 1), [KeyNumbers(key_numbers, np.array([far]), 3) for far in FAR]
    known_to, whole, buffers = [{} for _ in FAR], 0, Buffers()
    sizes = [300, 0, 1, 900, 70, 3000, 3000, *[200] * 4, 3000, 2, 0, 500]
    for step, size in enumerate(sizes):
        direction = "eval" if step % 4 == 3 else "forward"
        unique = batch(generator, pool[: 200 * (step + 2)], size)
        counts = np.zeros((len(FAR), FIELDS), np.int32)
        np.add.at(counts, (unique.ranks, unique.fields), 1)
        of_ranks = counts.sum(axis=1, dtype=np.int64)
        numbered = home.number(unique, of_ranks, direction, buffers)
        ends = np.cumsum(numbered.key_bytes)
        begins, firsts = ends - numbered.key_bytes, np.cumsum(of_ranks) - of_ranks
        message, places = np.full(int(ends[-1]), 255, np.uint8), np.full(len(unique.keys), -1, np.int32)
        home.write(unique, counts, numbered, firsts, begins, places, message)
        listed = np.zeros(len(unique.keys), np.uint64)
        listed[places] = unique.keys
        for r, seen in enumerate(known_to):
            own = unique.keys[unique.ranks == r].tolist()
            known = [key for key in own if key in seen]
            assert numbered.known[r] == len(known)
            assert numbered.key_bytes[r] == 8 * (len(own) - len(known)) + code_bytes(len(known), len(seen))
            new = [key for key in own if key not in seen]
            expected = sorted(sorted(known, key=seen.get) + new, key=lambda key: key >> 32 & 0xFFFF)
            assert listed[firsts[r] : firsts[r] + len(own)].tolist() == expected
            got, fields = np.zeros(len(own), np.uint64), np.zeros(len(own), np.uint16)
            one = slice(r, r + 1)
            assert owners[r].bytes_of(of_ranks[one], numbered.known[one]) == numbered.key_bytes[r]
            owners[r].read(message, begins[one].copy(), counts[one].copy(), numbered.known[one].copy(), direction, got, fields)
            assert got.tolist() == expected and fields.tolist() == [key >> 32 & 0xFFFF for key in expected]
            if direction == "forward" and FAR[r]:
                seen.update({key: len(seen) + i for i, key in enumerate(new[: most - len(seen)])})
            whole += len(new)
    assert [len(seen) for seen in known_to] == ([64, 0, 64] if most == 64 else [len(known_to[0]), 0, len(known_to[2])])
    assert min(len(known_to[0]), len(known_to[2])) >= 64 and whole > 0
