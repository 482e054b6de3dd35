"""Counter-based random numbers: a pure function of 64-bit words, the same on every rank and device.

`mix64` is the output function of SplitMix64 (docs/references.md): mix64(0x9e3779b97f4a7c15 * n) is the
n-th output of the published generator with seed 0.  `fold_words` folds several words, such as
(seed, step, sample, unit), into one such number.
"""

import numpy as np

from deshpc.jit import kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MULTIPLIERS = _MUL1, _MUL2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S40 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(40)
_ONE = np.uint64(1)


@kernel(inline=True)
def mix64(x):
    """Bijective mixing of one uint64."""
    x = (x ^ (x >> _S30)) * _MUL1
    x = (x ^ (x >> _S27)) * _MUL2
    return x ^ (x >> _S31)


@kernel(inline=True)
def fold(state, word):
    """The next state after `word`: start from a seed and fold in one word after another."""
    return mix64((state ^ word) + GOLDEN)


@kernel(inline=True)
def uniform24(x):
    """The top 24 bits of `x` as a float32 in [-1, 1): symmetric about 0, exact, no rounding anywhere."""
    return (np.float32(np.int64(x >> _S40)) - np.float32(8388607.5)) * np.float32(2.0**-23)


@kernel
def mixed(words):
    """`mix64` of each of some words (n) uint64."""
    result = np.empty_like(words)
    for i in range(len(words)):
        result[i] = mix64(words[i])
    return result


@kernel
def fold_words(seed, *words):
    """A seed with some integers folded in, one after another, uint64."""
    state = np.uint64(seed)
    for word in words:
        state = fold(state, np.uint64(word))
    return state
