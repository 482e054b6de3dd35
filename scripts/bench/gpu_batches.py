"""Numbers of keys as batches have them: many of few, few of many."""

import numpy as np

EXPONENT = 0.965  # of 2^20 numbers below 2^22, 35 % are distinct


def zipf(random, count, most):
    """`count` numbers 0 .. most - 1 (uint64) with density (1 + x)^-EXPONENT."""
    power, uniform = 1.0 - EXPONENT, random.random(count)
    numbers = ((most + 1.0) ** power * uniform + (1.0 - uniform)) ** (1.0 / power) - 1.0
    return np.minimum(numbers, most - 1).astype(np.uint64)


def of_fields(random, samples, fields, most):
    """Numbers (samples, fields) of about that density, below `most` and one more row of fields, where each field has its own."""
    numbers = zipf(random, samples * fields, most).reshape(samples, fields)
    return numbers - numbers % np.uint64(fields) + np.arange(fields, dtype=np.uint64)
