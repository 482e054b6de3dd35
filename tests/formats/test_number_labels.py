"""Labels that are numbers, in every format: which they are, and what is said of those that are none."""

import numpy as np
import pytest

from deshpc.config import DataConfig, FieldConfig
from deshpc.errors import DataError
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format

FIELDS = (FieldConfig("c"),)
CRITEO = "\t".join([*["1"] * 13, *["ab"] * 26])
GOOD = ["3", "0", "1", "2.5", "1e3", "3.4e38"]


def write(folder, form, labels):
    """A file of rows with these labels, text; its path and the DataConfig of it."""
    lines = {
        "csv": ["label,c", *(f"{label},x" for label in labels)],
        "criteo": [f"{label}\t{CRITEO}" for label in labels],
        "libsvm": [f"{label} 1:2" for label in labels],
        "libffm": [f"{label} 0:1:2" for label in labels],
    }
    path = folder / f"rows.{form}"
    if form.startswith("parquet"):
        import pyarrow as pa
        import pyarrow.parquet as parquet

        column = list(map(float, labels)) if form == "parquet" else list(labels)
        parquet.write_table(pa.table({"label": column, "c": ["x"] * len(labels)}), path)
        return path, DataConfig(format="parquet", fields=FIELDS)
    path.write_text("\n".join(lines[form]) + "\n")
    return path, DataConfig(format=form, fields=FIELDS if form == "csv" else (), libffm_fields=int(form == "libffm"))


def labels_of(folder, form, kind, labels, policy="error"):
    path, config = write(folder, form, labels)
    bad_rows = BadRows(policy)
    blocks = list(open_format(config, labels=kind).blocks([path], bad_rows))
    return np.concatenate([block.labels for block in blocks]).tolist(), bad_rows


FORMS = ("csv", "criteo", "libsvm", "libffm", "parquet", "parquet of texts")


@pytest.mark.parametrize("form", FORMS)
def test_numbers_are_read(tmp_path, form):
    expected = np.array(list(map(float, GOOD)), np.float32).tolist()
    assert labels_of(tmp_path, form, "counts", GOOD)[0] == expected
    assert labels_of(tmp_path, form, "numbers", [*GOOD, "-2", "-1", "-3.4e38"])[0] == [*expected, -2, -1, float(np.float32(-3.4e38))]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind, bad, what", [
    ("counts", "-1", "a number of 0 or more that float32 has, as a label of train.loss = 'poisson' is"),
    ("numbers", "1e39", "a finite number that float32 has, as a label of train.loss = 'squared' is"),
    ("numbers", "-1e39", "a finite number that float32 has"),
    ("numbers", "nan", "a finite number that float32 has"),
])  # fmt: skip
def test_other_labels_are_bad_rows(tmp_path, form, kind, bad, what):
    with pytest.raises(DataError) as raised:
        labels_of(tmp_path, form, kind, ["1", "2", bad])
    place = "row 2 (from 0)" if form.startswith("parquet") else f"line {4 if form == 'csv' else 3}"
    for part in (str(tmp_path / "rows"), place, "field 'label'", what):
        assert part in str(raised.value)
    found, bad_rows = labels_of(tmp_path, form, kind, ["1", bad, "2"], "skip")
    assert found == [1, 2] and bad_rows.count == 1


@pytest.mark.parametrize("form", [form for form in FORMS if form != "parquet"])
@pytest.mark.parametrize("bad", ["yes", "x"])
def test_words_are_no_numbers(tmp_path, form, bad):
    with pytest.raises(DataError, match="a finite number that float32 has"):
        labels_of(tmp_path, form, "numbers", ["1", bad])


@pytest.mark.parametrize("form", FORMS)
def test_a_label_of_no_class_says_which_losses_learn_numbers(tmp_path, form):
    with pytest.raises(DataError, match=r"3.*where .*are numbers, train\.loss = 'squared' or 'poisson' learns them"):
        labels_of(tmp_path, form, "classes", ["1", "0", "3"])
