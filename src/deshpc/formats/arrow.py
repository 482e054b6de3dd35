"""Arrow arrays to columns: a parser for each kind of field, with the keys that the same values have in text.

takes(type)    whether the parser can read arrays of an Arrow type; `wants` says which it can
parse(array)   -> the column and (n) bool, true where a value is not what `expected` says, or None
"""

import numpy as np

from deshpc.config.schema import LISTS
from deshpc.formats import labels
from deshpc.formats.cells import (
    NO_SEPARATOR,
    CategoricalParser,
    LabelParser,
    MultiParser,
    NumberParser,
    SampleWeightParser,
    WeightedParser,
    newest_of,
    parser_of,
    sample_weights,
)
from deshpc.formats.columns import Bucket, Categorical, Multi

_NUMBERS = "integers, floats, decimals or bools"
_TEXTS = "strings, binary, integers or bools"
_WHOLE = 1 << 53  # up to here float64 has all whole numbers
_VIEWS = ("string_view", "binary_view")
_NO_TEXT = np.frombuffer(b"", np.uint8)


def array_parser_of(field, name, number, missing=None):
    """The parser for arrays of `field`, a FieldConfig.

    name, number : of the key field whose keys they become, where it is one
    missing : Words that count as null, or None
    """
    if field.kind == "categorical":
        return CategoricalArrays(name, number, missing)
    if field.kind in LISTS:
        return (MultiArrays if field.kind == "multi" else SequenceArrays)(field, name, number, missing)
    return {"bucket": BucketArrays, "dense": NumberArrays}[field.kind](missing)


class NumberArrays:
    """(n) float64; null and NaN are missing, NaN."""

    wants = _NUMBERS
    expected = "a finite number, or null where it is missing"

    def __init__(self, missing=None):
        self._missing = [] if missing is None else [one for one in map(_float, missing.texts) if one is not None]

    def takes(self, kind):
        return _is_number(kind)

    def parse(self, array):
        numbers, _ = _numbers(array)
        if self._missing:
            numbers = np.where(np.isin(numbers, self._missing), np.nan, numbers)
        return numbers, np.isinf(numbers)


class BucketArrays(NumberArrays):
    """Numbers that will become keys."""

    def parse(self, array):
        numbers, bad = super().parse(array)
        return Bucket(numbers), bad


class SampleWeightArrays(NumberArrays):
    """(n) float32, what each sample counts; null is none."""

    expected = SampleWeightParser.expected

    def parse(self, array):
        numbers, _ = super().parse(array)
        return sample_weights(numbers)


class LabelArrays(NumberArrays):
    """Labels of numbers, bools, or texts, as those of a LabelParser; null is none."""

    wants = f"{_NUMBERS}, or strings"

    def __init__(self, positive="", missing=None, kind="classes", optional=False):
        super().__init__(missing)
        self._positive, self._words, self._kind, self._optional = positive, missing, kind, optional
        self._cells, self._bools = LabelParser(positive, kind, optional), LabelParser(positive.lower(), kind, optional)
        self.expected = self._cells.expected

    def takes(self, kind):
        return _is_number(kind) or _is_text(kind)

    def parse(self, array):
        import pyarrow.types as types

        if not _is_string(array.type) and not self._positive:
            numbers = super().parse(array)[0]
            found = labels.of_numbers(numbers) if self._kind == "classes" else labels.of_any_numbers(numbers, self._kind)
            return labels.where_there(*found, np.isnan(numbers)) if self._optional else found
        if types.is_floating(array.type):
            array, _ = _whole(array)
        cells = self._bools if types.is_boolean(array.type) else self._cells
        return cells.parse(*_cells(array, self._words))


class CategoricalArrays:
    """One key a value; null is the empty value.  Floats are whole numbers, NaN is null."""

    wants = f"{_TEXTS}, or floats that are whole numbers"
    expected = "a whole number up to 2^53, as a float that becomes a key has to be; kind = 'bucket' and 'dense' take any number"

    def __init__(self, name, number, missing=None):
        self._cells, self._missing = CategoricalParser(name, number), missing

    def takes(self, kind):
        import pyarrow.types as types

        return _is_text(kind) or types.is_floating(kind)

    def parse(self, array):
        import pyarrow.types as types

        bad = None
        if types.is_floating(array.type):
            array, bad = _whole(array)
        return Categorical(_keys(self._cells, array, self._missing)), bad


class MultiArrays:
    """A key for each element of a list but for null and the empty text; strings are split as in text.

    Where the field has weights, elements are value and weight, or strings with a weight separator.
    """

    def __init__(self, field, name, number, missing=None):
        self._weighted, self._missing = bool(field.weight_separator), missing
        self._values = CategoricalParser(name, number)
        self._cells = parser_of(field, name, number)
        weight = ord(field.weight_separator) if self._weighted else None
        self._elements = (
            WeightedParser(name, number, NO_SEPARATOR, weight)
            if self._weighted
            else MultiParser(name, number, NO_SEPARATOR)
        )
        self.wants = f"lists of {_TEXTS}, or strings of values between separators"
        self.wants += (
            "; with weights maps from such values to numbers, or lists of structs with the fields value and weight"
            if self._weighted
            else "" if field.kind == "sequence" else " (values with weights need the field's weight_separator)"
        )
        self.expected = "values that are not empty, with weights that are finite numbers"

    def takes(self, kind):
        import pyarrow.types as types

        if not _is_list(kind):
            return _is_string(kind) or types.is_null(kind)
        if types.is_map(kind) or types.is_struct(kind.value_type):
            value, weight = _value_and_weight(kind)
            return self._weighted and value is not None and _is_text(value) and _is_number(weight)
        return _is_text(kind.value_type)

    def parse(self, array):
        import pyarrow.types as types

        if not _is_list(array.type):
            return self._cells.parse(*_cells(array, self._missing))
        offsets, elements = _lists(array)
        if types.is_struct(elements.type):
            many, bad = self._weighted_elements(elements)
        else:
            many, bad = self._elements.parse(*_cells(elements))
        column = Multi(many.offsets[offsets], many.keys, many.weights)
        if bad is None:
            return column, None
        return column, np.diff(np.concatenate([[0], np.cumsum(bad)])[offsets]) > 0

    def _weighted_elements(self, elements):
        """Multi of structs, with one value each or none where the struct is null, and (n) bool, where one is bad."""
        columns = dict(zip([field.name for field in elements.type], elements.flatten(), strict=True))
        values, weights = columns["value"], columns["weight"]
        present = elements.is_valid().to_numpy(zero_copy_only=False)
        _, starts, stops = _cells(values)
        numbers, given = _numbers(weights)
        with np.errstate(over="ignore"):
            numbers = np.where(given, numbers, 1.0).astype(np.float32)
        bad = present & ((starts == stops) | ~np.isfinite(numbers))
        offsets = np.concatenate([[0], np.cumsum(present)])
        return Multi(offsets, _keys(self._values, values)[present], numbers[present]), bad


class SequenceArrays(MultiArrays):
    """The keys of MultiArrays, of each list's newest values, with the weights that these have by their places."""

    def __init__(self, field, name, number, missing=None):
        super().__init__(field, name, number, missing)
        self._sequence = field

    def parse(self, array):
        values, bad = super().parse(array)
        return values if not _is_list(array.type) else newest_of(values, self._sequence), bad


def plain(array):
    """An array whose texts are no dictionary, nor those of its lists."""
    import pyarrow as pa

    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode()
    if (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)) and pa.types.is_dictionary(array.type.value_type):
        offsets, elements = _lists(array)
        lists = pa.LargeListArray.from_arrays(pa.array(offsets), plain(elements))
        return pa.compute.if_else(array.is_valid(), lists, pa.scalar(None, lists.type)) if array.null_count else lists
    return array


def _is_string(kind):
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return _is_string(kind.value_type)
    return (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or str(kind) in _VIEWS
    )


def _is_text(kind):
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return _is_string(kind) or types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind)


def _is_number(kind):
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return _is_number(kind.value_type)
    return (
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
        or types.is_null(kind)
    )


def _is_list(kind):
    import pyarrow.types as types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or types.is_map(kind)


def _value_and_weight(kind):
    """Arrow types of the values and weights of a map, or of a list of structs; (None, None) for other structs."""
    import pyarrow.types as types

    if types.is_map(kind):
        return kind.key_type, kind.item_type
    element = kind.value_type
    if sorted(field.name for field in element) != ["value", "weight"]:
        return None, None
    return element.field("value").type, element.field("weight").type


def _numbers(array):
    """((n) float64, NaN where null;  (n) bool, true where not null)"""
    import pyarrow as pa

    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_decimal(array.type):  # Arrow's own numbers are not always the nearest ones
        numbers, _ = NumberParser().parse(*_cells(array))
    else:
        numbers = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)  # an integer may be rounded
    return numbers, array.is_valid().to_numpy(zero_copy_only=False)


def _whole(array):
    """(an array of floats as integers, null where they are none;  (n) bool, true where they are no whole numbers)."""
    import pyarrow as pa

    numbers, present = _numbers(array)
    present = present & ~np.isnan(numbers)
    whole = present & (np.abs(numbers) <= _WHOLE) & (np.rint(numbers) == numbers)
    return pa.array(np.where(whole, numbers, 0).astype(np.int64), mask=~whole), present & ~whole


def _float(text):
    try:
        return float(text)
    except ValueError:
        return None


def _keys(parser, array, missing=None):
    """(n) uint64 keys of an array of texts; those of a dictionary are hashed once where that is less work."""
    import pyarrow.types as types

    if types.is_dictionary(array.type) and 0 < len(array.dictionary) < len(array):
        keys = parser.parse(*_cells(array.dictionary, missing))[0].keys
        if array.null_count:
            keys = np.append(keys, parser.parse(_NO_TEXT, *np.zeros((2, 1), np.int64))[0].keys)
        return keys[_indices(array, len(array.dictionary))]
    return parser.parse(*_cells(array, missing))[0].keys


def _indices(array, null):
    """(n) indices into the dictionary of an array, `null` where it is null.  ValueError where a damaged file has others."""
    indices = array.indices.cast("int64").fill_null(null).to_numpy()
    if len(indices) and not (indices.min() >= 0 and indices.max() <= null):
        raise ValueError(f"a dictionary of {null} values has no value {indices.max()}")
    return indices


def _cells(array, missing=None):
    """An array of texts as cells, see `formats.cells`: (data, starts, stops); an integer is its decimals, null is empty.

    missing : Words that are empty, too, or None
    """
    data, starts, stops = _cells_as_they_are(array)
    return data, starts, stops if missing is None else missing.emptied(data, starts, stops)


def _cells_as_they_are(array):
    import pyarrow as pa

    kind = array.type
    if pa.types.is_dictionary(kind):
        data, starts, stops = _cells_as_they_are(array.dictionary)
        at = _indices(array, len(starts))
        return data, np.append(starts, 0)[at], np.append(stops, 0)[at]
    if pa.types.is_fixed_size_binary(kind) or str(kind) in _VIEWS:
        array = array.cast(pa.large_binary())
    elif not _is_string(kind):
        array = array.cast(pa.string())
    if len(array) == 0:
        return _NO_TEXT, np.empty(0, np.int64), np.empty(0, np.int64)
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    _, offsets, data = array.buffers()
    offsets = np.frombuffer(offsets, np.int64 if wide else np.int32)[array.offset : array.offset + len(array) + 1]
    starts, stops = offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)  # one type, for which kernels compile
    if array.null_count:
        stops = np.where(array.is_valid().to_numpy(zero_copy_only=False), stops, starts)
    return _NO_TEXT if data is None else np.frombuffer(data, np.uint8), starts, stops


def _lists(array):
    """((n + 1) int64 offsets into the elements;  the elements) of an array of lists; null is an empty list.

    A map is a list of structs with the fields value and weight.
    """
    import pyarrow as pa

    kind = array.type
    if pa.types.is_map(kind):
        array = array.cast(pa.list_(pa.struct([("value", kind.key_type), ("weight", kind.item_type)])))
    fixed = pa.types.is_fixed_size_list(kind)
    lengths = np.full(len(array), kind.list_size) if fixed else np.diff(array.offsets.to_numpy())
    lengths = np.where(array.is_valid().to_numpy(zero_copy_only=False), lengths, 0)
    return np.concatenate([[0], np.cumsum(lengths)]), array.flatten()
