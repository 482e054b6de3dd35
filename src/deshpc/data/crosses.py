"""Crosses: the keys of `[[data.crosses]]`, made of the keys that lie beside them in a sample.

    key = that of field number F + c of the bytes of the crossed keys, 8 each, lowest first      (`hashing.key`)

with the fields of the cross in its order, and the last field's keys changing first.  A missing value has no combination.
Bucket fields have their keys only after all training rows were seen.  So a sample gets room for its crossed keys first, behind all
others (`with_room`), and the keys when the transforms are applied (`fill`).
"""

from typing import NamedTuple

import numpy as np

from deshpc.config.schema import LISTS
from deshpc.errors import DataError
from deshpc.hashing.key import field_seed, key
from deshpc.hashing.xxh64 import hash_key
from deshpc.jit import kernel

MOST_COMBINATIONS = 1 << 20
"""Of a sample in all crosses."""


class _Plan(NamedTuple):
    """What kernels know of a schema's crosses.

    members : (crosses, most) int64    numbers of the crossed fields, filled up with -1
    seeds   : (crosses) uint64    of the crosses' hashes
    absent  : (F) uint64    the key of a field's missing value, 0 where it has none
    numbers : (F) bool    whether a field's keys are bits of numbers as yet
    """

    members: np.ndarray
    seeds: np.ndarray
    absent: np.ndarray
    numbers: np.ndarray


def with_room(offsets, keys, fields, values, schema):
    """The same arrays of a Dataset with room for the crossed keys, whose fields and values are there, and whose keys are 0.

    Keys of bucket fields are still the bits of their numbers.  DataError for a sample of more than MOST_COMBINATIONS.
    """
    plan = _plan(schema, True)
    longest = int(np.diff(offsets).max(initial=0))
    ends = np.zeros(len(offsets), np.int64)
    most = _count(offsets, keys, keys.view(np.float64), fields, *plan, ends)
    if most > MOST_COMBINATIONS:
        raise DataError(
            f"data.crosses: a row has {most:,} combinations of values; at most {MOST_COMBINATIONS:,} are possible: cross fields of fewer values a row"
        )
    np.cumsum(ends, out=ends)
    occurrences = int(ends[-1])
    more = np.zeros(occurrences, np.uint64), np.empty(occurrences, np.uint16)
    plane = values[:, None] if values is not None and values.ndim == 1 else values
    room = None if values is None else np.ones((occurrences, plane.shape[1]), np.float32)
    _put(offsets, keys, keys.view(np.float64), fields, plane, *plan, longest, ends, *more, room)
    return ends, *more, room if room is None or values.ndim == 2 else room[:, 0].copy()


def fill(offsets, keys, fields, schema):
    """Put the crossed keys where `with_room` has left room for them; all other keys are those of their values."""
    _fill(offsets, keys, keys.view(np.float64), fields, *_plan(schema, False), int(np.diff(offsets).max(initial=0)))


def room_for(room, schema):
    """(rows, keys), at most, with crosses; None where that is not known beforehand.  room : without them"""
    several = {field.name for field in schema.key_fields if field.kind in LISTS}
    if room is None or any(several.intersection(cross.fields) for cross in schema.crosses):
        return None
    rows, keys = room
    return rows, keys + rows * len(schema.crosses)


def _plan(schema, numbers):
    names = [field.name for field in schema.key_fields]
    members = np.full((len(schema.crosses), max(len(one.fields) for one in schema.crosses)), -1, np.int64)
    for c, one in enumerate(schema.crosses):
        members[c, : len(one.fields)] = [names.index(name) for name in one.fields]
    return _Plan(
        members,
        np.array([field_seed(one.name) for one in schema.crosses], np.uint64),
        np.array([0 if one.kind in LISTS else key(number, name, "") for one, name, number in schema.columns if number is not None], np.uint64),
        np.array([numbers and one.kind == "bucket" for one in schema.key_fields], np.bool_),
    )


@kernel(inline=True)
def _combinations(begin, end, keys, numbers, fields, members, absent, are_numbers, places, counts):
    """How many combinations a sample has in a cross: places (most, longest) and counts (most) of each of its fields' occurrences."""
    total = np.int64(1)
    for m in range(len(members)):
        field = members[m]
        if field < 0:
            break
        counts[m] = 0
        for i in range(begin, end):
            if fields[i] == field:
                missing = np.isnan(numbers[i]) if are_numbers[field] else keys[i] == absent[field]
                if not missing:
                    places[m, counts[m]] = i
                    counts[m] += 1
        total *= counts[m]
    return total


@kernel
def _count(offsets, keys, numbers, fields, members, seeds, absent, are_numbers, ends):
    """ends[i + 1] = occurrences of sample i with those of crosses; returns the most combinations of a sample."""
    counts, most = np.zeros(len(absent), np.int64), 0.0
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        counts[:] = 0
        for i in range(begin, end):
            field = fields[i]
            missing = np.isnan(numbers[i]) if are_numbers[field] else keys[i] == absent[field]
            counts[field] += 0 if missing else 1
        found = 0.0
        for c in range(len(members)):
            total = 1.0
            for field in members[c]:
                total *= counts[field] if field >= 0 else 1
            found += total
        most = max(most, found)
        ends[row + 1] = end - begin + np.int64(min(found, 2.0**32))
    return most


@kernel
def _put(offsets, keys, numbers, fields, values, members, seeds, absent, are_numbers, longest, ends, all_keys, all_fields, all_values):
    """Copy occurrences, and put fields and values of crossed keys behind those of each sample."""
    places, counts = np.empty((members.shape[1], longest), np.int64), np.zeros(members.shape[1], np.int64)
    for row in range(len(offsets) - 1):
        begin, end, at = offsets[row], offsets[row + 1], ends[row]
        for i in range(begin, end):
            all_keys[at], all_fields[at] = keys[i], fields[i]
            if values is not None:
                for j in range(values.shape[1]):
                    all_values[at, j] = values[i, j]
            at += 1
        for c in range(len(members)):
            total = _combinations(begin, end, keys, numbers, fields, members[c], absent, are_numbers, places, counts)
            for t in range(total):
                all_fields[at] = len(absent) + c
                if values is not None:
                    for j in range(values.shape[1]):
                        product, rest = 1.0, t
                        for m in range(members.shape[1] - 1, -1, -1):
                            if members[c, m] >= 0:
                                product *= np.float64(values[places[m, rest % counts[m]], j])
                                rest //= counts[m]
                        all_values[at, j] = product
                at += 1


@kernel
def _fill(offsets, keys, numbers, fields, members, seeds, absent, are_numbers, longest):
    """Keys of crosses, in place."""
    places, counts = np.empty((members.shape[1], longest), np.int64), np.zeros(members.shape[1], np.int64)
    data = np.empty(8 * members.shape[1], np.uint8)
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        while end > begin and fields[end - 1] >= len(absent):
            end -= 1
        at = end
        for c in range(len(members)):
            total = _combinations(begin, end, keys, numbers, fields, members[c], absent, are_numbers, places, counts)
            for t in range(total):
                rest, size = t, 0
                for m in range(members.shape[1] - 1, -1, -1):
                    if members[c, m] >= 0:
                        word = keys[places[m, rest % counts[m]]]
                        rest //= counts[m]
                        size += 8
                        for byte in range(8):
                            data[8 * m + byte] = (word >> np.uint64(8 * byte)) & np.uint64(255)
                keys[at] = hash_key(data, np.int64(0), np.int64(size), seeds[c], len(absent) + c)
                at += 1
