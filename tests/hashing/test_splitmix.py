"""Counter-based random numbers: SplitMix64's published outputs, and the exactness of the uniform draw."""

import numpy as np

from deshpc.hashing.splitmix import GOLDEN, fold, mix64, uniform24
from deshpc.jit import kernel

# The first outputs of the reference SplitMix64 with seed 0: the published values that the tests of its ports check.
SEED_0 = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC, 0x1B39896A51A8749B]


@kernel
def outputs(count):
    result = np.empty(count, np.uint64)
    for i in range(count):
        result[i] = mix64(GOLDEN * np.uint64(i + 1))
    return result


@kernel
def fold_two(state, first, second):
    return fold(fold(state, first), second)


@kernel
def uniform(word):
    return uniform24(word)


def test_published_outputs_of_seed_0():
    assert [int(x) for x in outputs(5)] == SEED_0


def test_fold_chains_the_published_function():
    def expected(state, *words):
        for word in words:
            z = ((state ^ word) + 0x9E3779B97F4A7C15) % 2**64
            z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
            z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
            state = z ^ z >> 31
        return state

    assert expected(0, 0) == SEED_0[0]
    for words in ((0, 0, 0), (1, 2, 3), (1, 3, 2), (2**64 - 1, 2**63, 7)):
        assert int(fold_two(*np.array(words, np.uint64))) == expected(*words)


def test_uniform24_is_exact_and_symmetric():
    for top in (0, 1, 2**23 - 1, 2**23, 2**24 - 1):
        drawn = uniform(np.uint64(top << 40 | 0xFFFFFFFFFF))
        assert drawn == (top - 8388607.5) / 8388608
        assert drawn == -uniform(np.uint64((2**24 - 1 - top) << 40))
        assert drawn == np.float32(drawn)
        assert -1 < drawn < 1
