"""The fields of many keys, in NumPy: what files say of a key's field has to agree with the key itself."""

import numpy as np

from deshpc.hashing.key import FIELD_SHIFT


def fields_of(keys):
    """Numbers (n) uint16 of the fields of keys (n) uint64."""
    return (keys >> np.uint64(FIELD_SHIFT)).astype(np.uint16)


def first_misplaced(keys, fields):
    """Place of the first of keys (n) uint64 that is no key of its field, fields (n) uint16; None where all are."""
    wrong = np.flatnonzero((keys == 0) | (fields_of(keys) != fields))
    return int(wrong[0]) if len(wrong) else None
