"""Squared norms that do not depend on how numbers are divided among threads, ranks and backends: integers are added.

A number x >= 0 is rounded down to a multiple of 2^-256 and spread over words of 32 bits, of which word k counts multiples of
2^(32 k - 256). Words of many numbers are added as int64, exactly for up to 2^31 numbers, and `total` rounds once.

    terms   40 words, and a word that counts what is not finite, an infinity as 1 and NaN as 2^32 :   (41) int64
"""

import math

WORDS, WORD_BITS, UNIT_BITS = 40, 32, 256
TERMS = WORDS + 1
NOT_FINITE = WORDS
NAN = 1 << 32


def total(terms):
    """The sum (a float), rounded once, of the numbers of terms (TERMS)."""
    *words, not_finite = terms.tolist()
    if not_finite:
        return math.nan if not_finite >= NAN else math.inf
    whole = sum(word << WORD_BITS * place for place, word in enumerate(words))  # Python integers: of any size
    try:
        return whole / (1 << UNIT_BITS)
    except OverflowError:
        return math.inf
