"""The fields of many keys, in NumPy: what files say of a key's field has to agree with the key itself."""

import numpy as np

from deshpc.hashing.key import FIELD_SHIFT


def fields_of(keys):
    """Numbers (n) uint16 of the fields of keys (n) uint64."""
    return (keys >> np.uint64(FIELD_SHIFT)).astype(np.uint16)


def is_key_of(keys, fields):
    """(n) bool, whether keys (n) uint64 may be those of fields (n) uint16: every file of keys is read through this."""
    return (keys != 0) & (fields_of(keys) == fields)
