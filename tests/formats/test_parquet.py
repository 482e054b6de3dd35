"""Parquet files into columns: against the values that were written, the definition of a key, and the CSV reader."""

import datetime
import decimal
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joined import joined

from deshpc.config import DataConfig, FieldConfig
from deshpc.errors import ConfigError, DataError
from deshpc.formats import parquet
from deshpc.formats.arrow import array_parser_of
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format
from deshpc.hashing.key import key


def read(path, *fields, policy="error", label=True):
    """Columns of one file, or of several."""
    reader = open_format(DataConfig(format="parquet", fields=fields), label)
    bad_rows = BadRows(policy)
    columns = joined(reader.schema, reader.blocks(path if isinstance(path, list) else [path], bad_rows))
    return columns if policy == "error" else (columns, bad_rows)


@pytest.fixture
def write(tmp_path):
    """Write columns, and labels unless there are some, to a file."""

    def written(columns, name="rows", **options):
        columns = dict(columns)
        if "label" not in columns:
            columns["label"] = [i % 2 for i in range(len(next(iter(columns.values()))))]
        pq.write_table(pa.table(columns), tmp_path / name, **options)
        return tmp_path / name

    return written


CATEGORICALS = [
    (pa.string(), ["a", "", None, "Köln", "x" * 100, "a"], ["a", "", "", "Köln", "x" * 100, "a"]),
    (pa.large_string(), ["a", None, "b"], ["a", "", "b"]),
    (pa.string_view(), ["a", None, "longer than the twelve bytes of a view"], ["a", "", "longer than the twelve bytes of a view"]),
    (pa.binary(), [b"\xff\x00", b"", None], [b"\xff\x00", b"", b""]),
    (pa.large_binary(), [b"\xff\x00", b"", None], [b"\xff\x00", b"", b""]),
    (pa.binary(2), [b"\xff\x00", None], [b"\xff\x00", b""]),
    (pa.int64(), [0, -1, None, 2**63 - 1, -(2**63)], ["0", "-1", "", str(2**63 - 1), str(-(2**63))]),
    (pa.uint64(), [2**64 - 1, None], [str(2**64 - 1), ""]),
    (pa.int8(), [7, -128, None], ["7", "-128", ""]),
    (pa.bool_(), [True, False, None], ["true", "false", ""]),
    (pa.null(), [None, None], ["", ""]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", None, "b", "a", "a"], ["a", "", "b", "a", "a"]),
    (pa.dictionary(pa.int32(), pa.string()), [None, None], ["", ""]),
    (pa.dictionary(pa.int32(), pa.int64()), [5, None, 5, 5, 7], ["5", "", "5", "5", "7"]),
]


@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("kind, values, texts", CATEGORICALS, ids=[str(kind) for kind, _, _ in CATEGORICALS])
def test_categorical(write, kind, values, texts, dictionary):
    path = write({"c": pa.array(values, kind)}, use_dictionary=dictionary)
    assert read(path, FieldConfig("c")).key_fields[0].keys.tolist() == [key(0, "c", text) for text in texts]


NUMBERS = [
    (pa.int32(), [1, None, -7]),
    (pa.uint64(), [2**64 - 1, None, 0]),
    (pa.int64(), [2**53 + 1, -(2**63), None]),
    (pa.float16(), [np.float16(0.5), None]),
    (pa.float32(), [0.1, None, -1e30]),
    (pa.float64(), [0.1, None, -1e300]),
    (pa.decimal128(20, 3), [decimal.Decimal("1.250"), None]),
    (pa.decimal128(18, 3), [decimal.Decimal("4087621411.680"), decimal.Decimal("-9800389.779"), None]),
    (pa.decimal256(50, 3), [decimal.Decimal("-1.250"), None, decimal.Decimal("5557971335642.018")]),
    (pa.bool_(), [True, None, False]),
    (pa.null(), [None]),
    (pa.dictionary(pa.int8(), pa.float64()), [1.5, None, 1.5]),
]


@pytest.mark.parametrize("kind, values", NUMBERS, ids=[str(kind) for kind, _ in NUMBERS])
def test_dense_and_bucket(write, kind, values):
    array = pa.array(values, kind)
    path = write({"d": array, "b": array})
    columns = read(path, FieldConfig("d", "dense"), FieldConfig("b", "bucket"))
    expected = [np.nan if value is None else float(value) for value in array.to_pylist()]
    np.testing.assert_array_equal(columns.dense_fields[0], expected)
    np.testing.assert_array_equal(columns.key_fields[0].numbers, expected)


@pytest.mark.parametrize("kind", [pa.bool_(), pa.int8(), pa.float32(), pa.float64(), pa.decimal128(5, 2)], ids=str)
def test_labels(write, kind):
    labels = pa.array([1, 0, 1]).cast(pa.int8() if kind == pa.bool_() else kind if not pa.types.is_decimal(kind) else pa.int8())
    path = write({"c": ["a", "b", "c"], "label": labels.cast(kind)})
    assert read(path, FieldConfig("c")).labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("labels", [[1, 2], [1, None], [0, -2], [0.0, float("nan")], [1, 0.5], [0, float("inf")]])
def test_bad_labels(write, labels):
    path = write({"c": ["a", "b"], "label": labels})
    with pytest.raises(DataError) as raised:
        read(path, FieldConfig("c"))
    assert str(raised.value).startswith(f"{path}, row 1 (from 0), field 'label': '{pa.array(labels)[1].as_py()}' is not 0 or 1, nor")


def test_without_a_label_its_column_need_not_exist(write, tmp_path):
    pq.write_table(pa.table({"c": ["a"]}), tmp_path / "absent")
    columns = read([tmp_path / "absent", write({"c": ["b"], "label": ["x"]})], FieldConfig("c"), label=False)
    assert columns.labels is None and columns.rows.tolist() == [0, 0]
    assert columns.key_fields[0].keys.tolist() == [key(0, "c", "a"), key(0, "c", "b")]


def check_multi(column, expected):
    """`column` holds for each row the texts, or pairs of text and weight, of `expected`."""
    pairs = [one if isinstance(one, tuple) else (one, None) for some in expected for one in some]
    assert column.offsets.tolist() == np.cumsum([0, *map(len, expected)]).tolist()
    assert column.keys.tolist() == [key(0, "m", text) for text, _ in pairs]
    if column.weights is not None:
        assert column.weights.tolist() == [np.float32(weight) for _, weight in pairs]


LISTS = [
    (pa.list_(pa.string()), [["a", None, "b"], None, [], ["", "a", "a"]], [["a", "b"], [], [], ["a", "a"]]),
    (pa.large_list(pa.large_string()), [["a"], None, ["b|c"]], [["a"], [], ["b|c"]]),
    (pa.list_(pa.int64(), 2), [[1, 2], None, [3, None]], [["1", "2"], [], ["3"]]),
    (pa.list_(pa.int32()), [[1, -2], [None], None], [["1", "-2"], [], []]),
    (pa.list_(pa.bool_()), [[True, False]], [["true", "false"]]),
    (pa.list_(pa.binary()), [[b"\xff", b""]], [[b"\xff"]]),
    (pa.list_(pa.dictionary(pa.int8(), pa.string())), [["a", "b"], [None, "a"], None], [["a", "b"], ["a"], []]),
    (pa.list_(pa.null()), [[None], []], [[], []]),
    (pa.string(), ["a|b", None, "", "||c|", "a|a"], [["a", "b"], [], [], ["c"], ["a", "a"]]),
    (pa.dictionary(pa.int8(), pa.string()), ["a|b", None, "a|b"], [["a", "b"], [], ["a", "b"]]),
    (pa.null(), [None, None], [[], []]),
]


@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("kind, values, expected", LISTS, ids=[str(kind) for kind, _, _ in LISTS])
def test_multi(write, kind, values, expected, dictionary):
    if pa.types.is_fixed_size_list(kind) and int(pa.__version__.split(".")[0]) < 26:
        pytest.skip("pyarrow reads no missing list of a fixed size before 26")
    path = write({"m": pa.array(values, kind)}, use_dictionary=dictionary)
    column = read(path, FieldConfig("m", "multi")).key_fields[0]
    assert column.weights is None
    check_multi(column, expected)


@pytest.mark.parametrize("kind, values, texts", CATEGORICALS, ids=[str(kind) for kind, _, _ in CATEGORICALS])
def test_part_of_an_array(kind, values, texts):
    array = pa.array(values * 2, kind).slice(1, len(values))
    column, _ = array_parser_of(FieldConfig("c"), "c", 0).parse(array)
    assert column.keys.tolist() == [key(0, "c", text) for text in [*texts, texts[0]][1:]]


@pytest.mark.parametrize("kind, values, expected", LISTS, ids=[str(kind) for kind, _, _ in LISTS])
def test_part_of_an_array_of_lists(kind, values, expected):
    array = pa.array(values * 2, kind).slice(1, len(values))
    column, _ = array_parser_of(FieldConfig("m", "multi"), "m", 0).parse(array)
    check_multi(column, [*expected, expected[0]][1:])


PAIR = pa.struct([("value", pa.string()), ("weight", pa.float64())])
TURNED = pa.struct([("weight", pa.int32()), ("value", pa.int64())])
WEIGHTED = [
    (pa.list_(PAIR), [[("a", 0.5), ("b", None)], None, [None, ("a", 2)], []], [[("a", 0.5), ("b", 1)], [], [("a", 2)], []]),
    (pa.large_list(TURNED), [[(2, 7), None], [(-1, 7)]], [[("7", 2)], [("7", -1)]]),
    (pa.map_(pa.string(), pa.float32()), [[("a", 0.1), ("b", None)], None, []], [[("a", 0.1), ("b", 1)], [], []]),
    (pa.map_(pa.int32(), pa.decimal128(5, 1)), [[(3, decimal.Decimal("2.5"))]], [[("3", 2.5)]]),
    (pa.list_(pa.string()), [["a:0.5", "b", None, "c|:2"]], [[("a", 0.5), ("b", 1), ("c|", 2)]]),
    (pa.list_(pa.int8()), [[4, 5]], [[("4", 1), ("5", 1)]]),
    (pa.string(), ["a:0.5|b", None], [[("a", 0.5), ("b", 1)], []]),
]


@pytest.mark.parametrize("kind, values, expected", WEIGHTED, ids=[str(kind) for kind, _, _ in WEIGHTED])
def test_values_with_weights(write, kind, values, expected):
    path = write({"m": pa.array(values, kind)})
    check_multi(read(path, FieldConfig("m", "multi", weight_separator=":")).key_fields[0], expected)


@pytest.mark.parametrize("kind, values, expected", WEIGHTED, ids=[str(kind) for kind, _, _ in WEIGHTED])
def test_part_of_an_array_of_values_with_weights(kind, values, expected):
    array = pa.array(values * 2, kind).slice(1, len(values))
    column, _ = array_parser_of(FieldConfig("m", "multi", weight_separator=":"), "m", 0).parse(array)
    check_multi(column, [*expected, expected[0]][1:])


@pytest.mark.parametrize(
    "kind, bad",
    [
        (pa.list_(PAIR), [("a", 1), ("b", float("nan"))]),
        (pa.list_(PAIR), [("a", float("inf"))]),
        (pa.list_(PAIR), [("a", 1e39)]),
        (pa.list_(PAIR), [(None, 1)]),
        (pa.list_(PAIR), [("", 1)]),
        (pa.map_(pa.string(), pa.float32()), [("", 1)]),
        (pa.list_(pa.string()), ["a:1", "b:x"]),
        (pa.string(), "a:1|:3"),
        (pa.list_(pa.binary()), [b"\xff:x"]),
    ],
    ids=str,
)
def test_bad_weights(write, kind, bad):
    path = write({"m": pa.array([None, bad, None, bad], kind), "c": ["p", "q", "r", "s"]})
    fields = FieldConfig("m", "multi", weight_separator=":"), FieldConfig("c")
    with pytest.raises(DataError, match=r"row 1 \(from 0\), field 'm': .* is not (values|a list of values) .*finite"):
        read(path, *fields)
    columns, bad_rows = read(path, *fields, policy="skip")
    assert columns.rows.tolist() == [0, 2] and bad_rows.count == 2
    assert columns.key_fields[1].keys.tolist() == [key(1, "c", "p"), key(1, "c", "r")]


DATE = datetime.date(2020, 1, 1)


@pytest.mark.parametrize(
    "field, array, wants",
    [
        (FieldConfig("c"), pa.array([{"a": 1.5}]), "of type struct<.*; expected strings, binary, integers or bools"),
        (FieldConfig("c"), pa.array([DATE]), "of type date32.*; expected strings"),
        (FieldConfig("c"), pa.array([["a"]]), "of type list<.*; expected strings"),
        (FieldConfig("c"), pa.array([decimal.Decimal("1")]), "of type decimal128.*; expected strings"),
        (FieldConfig("c"), pa.array([{"a": 1}]), "of type struct<.*; expected strings"),
        (FieldConfig("c", "dense"), pa.array(["1"]), "of type string; expected integers, floats, decimals or bools"),
        (FieldConfig("c", "bucket"), pa.array([DATE]), "of type date32.*; expected integers"),
        (FieldConfig("c", "multi"), pa.array([1]), "of type int64; expected lists of strings"),
        (FieldConfig("c", "multi"), pa.array([[1.5]]), "of type list<.*; expected lists of strings"),
        (FieldConfig("c", "multi"), pa.array([[["a"]]]), "of type list<.*list<.*; expected lists of strings"),
        (FieldConfig("c", "multi"), pa.array([[("a", 1)]], pa.list_(PAIR)), "need the field's weight_separator"),
        (
            FieldConfig("c", "multi", weight_separator=":"),
            pa.array([[{"name": "a", "weight": 1}]]),
            "lists of structs with the fields value and weight",
        ),
        (
            FieldConfig("c", "multi", weight_separator=":"),
            pa.array([[{"value": "a", "weight": "1"}]]),
            "lists of structs with the fields value and weight",
        ),
    ],
    ids=lambda one: str(one.type) if isinstance(one, pa.Array) else "",
)
@pytest.mark.parametrize("policy", ["error", "skip"])
def test_types_that_do_not_fit(write, field, array, wants, policy):
    path = write({"c": array})
    with pytest.raises(DataError, match=f"^{path}, field 'c': the column is {wants}" if wants[0] == "o" else wants):
        read(path, field, policy=policy)


def test_missing_and_repeated_columns(write, tmp_path):
    path = write({"price": [1], "other": [2]})
    with pytest.raises(DataError, match=f"^{path}, field 'prize': no such column; did you mean 'price'?"):
        read(path, FieldConfig("prize", "dense"), policy="skip")
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 3, ["label", "c", "c"]), tmp_path / "twice")
    with pytest.raises(DataError, match="field 'c': 2 columns have this name; expected one"):
        read(tmp_path / "twice", FieldConfig("c"))


def test_a_name_with_a_dot_is_one_name(write):
    path = write({"a": [{"b": "x"}], "a.b": ["y"]})
    assert read(path, FieldConfig("a.b")).key_fields[0].keys.tolist() == [key(0, "a.b", "y")]


def test_bad_numbers_are_skipped_or_named(write):
    numbers = [1.0, float("inf"), None, float("-inf"), 5.0]
    path = write({"x": numbers, "c": list("abcde")}, row_group_size=2)
    fields = FieldConfig("x", "dense"), FieldConfig("c")
    with pytest.raises(DataError) as raised:
        read(path, *fields)
    where = f"{path}, row 1 (from 0), field 'x'"
    assert str(raised.value) == f"{where}: 'inf' is not a finite number, or null where it is missing"
    columns, bad_rows = read(path, *fields, policy="skip")
    np.testing.assert_array_equal(columns.dense_fields[0], [1, np.nan, 5])
    assert columns.rows.tolist() == [0, 2, 4] and columns.labels.tolist() == [0, 0, 0]
    assert columns.key_fields[0].keys.tolist() == [key(0, "c", text) for text in "ace"]
    assert bad_rows.count == 2 and bad_rows.examples[0] == str(raised.value)


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"row_group_size": 7}, {"compression": "zstd"}])
@pytest.mark.parametrize("block_rows", [1, 5, 16_384])
def test_the_same_table_in_csv_and_parquet_gives_the_same_columns(write, tmp_path, options, block_rows, monkeypatch):
    monkeypatch.setattr(parquet, "_BLOCK_ROWS", block_rows)
    rng = np.random.default_rng(8)
    n = 40
    words = [["", "a", "Köln", "x y"][i] for i in rng.integers(0, 4, n)]
    numbers = [None if i == 0 else int(i) for i in rng.integers(0, 50, n)]
    tags = [[f"t{j}" for j in rng.integers(0, 9, size)] for size in rng.integers(0, 4, n)]
    floats = [None if x > 1 else x for x in rng.normal(size=n).tolist()]
    labels = rng.integers(0, 2, n).tolist()
    lines = zip(labels, words, numbers, map("|".join, tags), floats, strict=True)
    text = "".join(",".join("" if cell is None else str(cell) for cell in line) + "\n" for line in lines)
    (tmp_path / "rows.csv").write_text("label,word,number,tags,x\n" + text)
    path = write({"x": floats, "tags": tags, "word": words, "number": numbers, "label": labels}, **options)
    fields = FieldConfig("word"), FieldConfig("number"), FieldConfig("tags", "multi"), FieldConfig("x", "dense")
    reader = open_format(DataConfig(format="csv", fields=fields))
    expected = joined(reader.schema, reader.blocks([tmp_path / "rows.csv"], BadRows("error")))
    columns = read(path, *fields)
    for ours, theirs in zip(columns.key_fields, expected.key_fields, strict=True):
        np.testing.assert_array_equal(ours.keys, theirs.keys)
    np.testing.assert_array_equal(columns.key_fields[2].offsets, expected.key_fields[2].offsets)
    np.testing.assert_array_equal(columns.dense_fields[0], expected.dense_fields[0])
    np.testing.assert_array_equal(columns.labels, expected.labels)
    np.testing.assert_array_equal(columns.rows, np.arange(n))


def test_long_rows_come_in_small_blocks(write, monkeypatch):
    monkeypatch.setattr(parquet, "_BLOCK_BYTES", 300_000)
    values = [f"{i}" * 100_000 for i in range(9)]
    path = write({"c": values}, use_dictionary=False, compression="none")
    reader = open_format(DataConfig(format="parquet", fields=(FieldConfig("c"),)))
    blocks = list(reader.blocks([path], BadRows("error")))
    assert max(map(len, blocks)) < 4
    assert joined(reader.schema, blocks).key_fields[0].keys.tolist() == [key(0, "c", value) for value in values]


def test_a_column_with_more_values_than_a_dictionary_holds(write):
    values = [f"value {i:030d}" for i in range(60_000)]  # the writer gives its dictionary up at 1 MiB
    path = write({"c": values, "m": [[value] for value in values]})
    columns = read(path, FieldConfig("c"), FieldConfig("m", "multi"))
    for i in (0, 1, 30_000, 59_999):
        assert columns.key_fields[0].keys[i] == key(0, "c", values[i])
        assert columns.key_fields[1].keys[i] == key(1, "m", values[i])
    assert len(np.unique(columns.key_fields[0].keys)) == 60_000


def test_a_file_without_rows_is_an_empty_table(write):
    columns = read(write({"c": pa.array([], pa.string()), "m": pa.array([], pa.list_(pa.string()))}), FieldConfig("c"))
    assert len(columns) == 0


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_a_column_with_fewer_rows_than_the_footer_says_is_an_error(write, policy):
    """As pyarrow's writer makes them, where a list with a dictionary spans pages: its batches then end early, without an error."""
    path = write({"m": [["a", None, "b"]], "c": ["x"]}, data_page_size=1)
    with pytest.raises(pa.ArrowInvalid, match="expected length 0 but got length 1"):
        pq.read_table(path)
    with pytest.raises(DataError, match=f"^{path}: damaged: row group 0 .* has 0 rows; the file's footer says 1"):
        read(path, FieldConfig("m", "multi"), FieldConfig("c"), policy=policy)


def test_files_that_are_no_parquet(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("label,c\n1,a\n")
    for name, why in [("empty", "cannot be read as a Parquet file"), ("text", "cannot be read as"), ("absent", "no such file")]:
        with pytest.raises(DataError, match=f"^{tmp_path / name}: {why}"):
            read(tmp_path / name, FieldConfig("c"))
    with pytest.raises(DataError, match=f"^{tmp_path}: cannot be read"):
        read(tmp_path, FieldConfig("c"))


def test_without_pyarrow(write, monkeypatch):
    path = write({"c": ["a"]})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match=r"needs the package pyarrow: pip install 'deshpc\[data\]'"):
        read(path, FieldConfig("c"))


SMALL = {
    "c": ["a", "b", None, "a"] * 5,
    "m": [["x", "y"], None, [], ["z"]] * 5,
    "w": pa.array([[("a", 0.5)], None, [], [("b", 1)]] * 5, pa.map_(pa.string(), pa.float64())),
    "x": [1.5, None, 2.0, 3.0] * 5,
}
SMALL_FIELDS = (
    FieldConfig("c"),
    FieldConfig("m", "multi"),
    FieldConfig("w", "multi", weight_separator=":"),
    FieldConfig("x", "dense"),
)


def test_every_truncation_is_an_error(write):
    path = write(SMALL)
    whole = path.read_bytes()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read(path, *SMALL_FIELDS)


@settings(deadline=None, max_examples=200)
@given(
    damage=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
    checksums=st.booleans(),
    policy=st.sampled_from(["error", "skip"]),
)
def test_random_damage_is_an_error_or_rows(tmp_path_factory, damage, checksums, policy):
    path = tmp_path_factory.getbasetemp() / "damaged"
    pq.write_table(pa.table({**SMALL, "label": [0, 1, 0, 1] * 5}), path, write_page_checksum=checksums, compression="none")
    data = bytearray(path.read_bytes())
    for place, value in damage:
        data[place % len(data)] = value
    path.write_bytes(data)
    try:
        read(path, *SMALL_FIELDS, policy=policy)
    except DataError as error:
        assert str(path) in str(error)
