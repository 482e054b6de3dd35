"""Transformed numbers of a block: those of `transform.transformed`, to the bit.

Most numbers of click logs are small counts, whose logarithms are in a table that `signed_log` itself has made.
"""

from functools import cache

import numpy as np

from deshpc.data.transform import signed_log, transformed
from deshpc.jit import kernel

_WHOLE_NUMBERS = 1 << 14  # in the table, which takes 64 KiB of a core's cache


def transformed_into(field, numbers, result):
    """Put (n) float64 `numbers` of a dense field, NaN where missing, into `result`, (n) float32, as its transform has them."""
    if field.transform == "signed_log" and not field.clip:
        signed_logs(numbers, result)
    else:
        result[...] = transformed(field, numbers)


def signed_logs(numbers, logs):
    """Put the signed logarithms of (n) float64 `numbers`, NaN where missing, into `logs`, (n) float32."""
    if _look_up(numbers, _table(), logs):
        sizes = np.abs(numbers)
        other = np.flatnonzero((sizes >= _WHOLE_NUMBERS) | (sizes != np.floor(sizes)))
        logs[other] = signed_log(numbers[other])


@cache
def _table():
    return signed_log(np.arange(_WHOLE_NUMBERS + 1.0))


@kernel
def _look_up(numbers, table, logs):
    """Fill `logs` as far as the table goes and with NaN; the number of numbers that are not in the table.

    Without branches, since which numbers are missing cannot be predicted.
    """
    end = np.float64(len(table) - 1)
    others = 0
    for i in range(len(numbers)):
        x = numbers[i]
        size = abs(x) if abs(x) < end else end
        place = np.int64(size)
        log = np.copysign(table[np.uint64(place)], np.float32(x))
        logs[i] = np.float32(np.nan) if np.isnan(x) else log
        others += 1 if (size == end or np.float64(place) != size) and not np.isnan(x) else 0
    return others
