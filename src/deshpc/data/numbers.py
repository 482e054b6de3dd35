"""Statistics of dense fields' raw numbers, which samples no longer have."""

import math

from deshpc.data.moments import Moments


class NumberStatistics:
    """For each dense field of a schema: how many rows lack it, and smallest, largest and mean number of the others."""

    def __init__(self, schema):
        self._rows, self._fields = 0, {field.name: Moments() for field in schema.dense_fields}

    def add(self, columns):
        """Take a block of Columns."""
        self._rows += len(columns)
        for moments, numbers in zip(self._fields.values(), columns.dense_fields, strict=True):
            moments.add(numbers)

    def to_json(self):
        """{name: {"missing", "present", "min", "max", "mean"}}; the last three are None where there is no (finite) number."""
        return {name: _statistics(one, self._rows) for name, one in self._fields.items()}


def merged(statistics):
    """`to_json` of several parts as that of all of them."""
    first, *others = ({name: dict(one) for name, one in tree.items()} for tree in statistics)
    for tree in others:
        for name, one in tree.items():
            first[name] = _merged(first[name], one)
    return first


def _statistics(moments, rows):
    numbers = (moments.low, moments.high, moments.mean) if moments.count else (None, None, None)
    low, high, mean = (one if one is not None and math.isfinite(one) else None for one in numbers)
    return {"missing": rows - moments.count, "present": moments.count, "min": low, "max": high, "mean": mean}


def _merged(one, other):
    total = one["present"] + other["present"]
    if not (one["present"] and other["present"]):
        of_numbers = one if one["present"] else other
        return {**of_numbers, "missing": one["missing"] + other["missing"]}
    if None in (*one.values(), *other.values()):
        return {"missing": one["missing"] + other["missing"], "present": total, "min": None, "max": None, "mean": None}
    return {
        "missing": one["missing"] + other["missing"], "present": total, "min": min(one["min"], other["min"]),
        "max": max(one["max"], other["max"]),
        "mean": one["mean"] * (one["present"] / total) + other["mean"] * (other["present"] / total),
    }  # fmt: skip
