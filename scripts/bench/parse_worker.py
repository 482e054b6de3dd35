"""One measurement of parse.py, in a process of its own on one core: a reader, a small file to warm it up, a file.

    python scripts/bench/parse_worker.py '{"reader": "deshpc", "format": "criteo", "warm": "small.tsv", "path": "large.tsv"}'

Prints the seconds, the processor's seconds and the rows of the second file as JSON.  Every reader gets all columns into memory and drops them,
block by block where it can: deshpc's are hashed keys, the others' strings.  The imports are those of the reader alone,
so that a reader can have an environment of its own.
"""

import json
import os
import sys
import time

os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])

SEPARATORS = {"csv": ",", "criteo": "\t"}
NAMES = ["label", *(f"I{i + 1}" for i in range(13)), *(f"C{i + 1}" for i in range(26))]


def deshpc(path, file_format):
    from deshpc.formats.bad_rows import BadRows
    from deshpc.formats.open import open_format

    return sum(map(len, open_format(deshpc_config(path, file_format)).blocks([path], BadRows("error"))))


def deshpc_config(path, file_format):
    from deshpc.config import DataConfig, FieldConfig

    fields = tuple(FieldConfig(name, "dense" if name[0] == "I" else "categorical") for name in NAMES[1:])
    named = {"fields": fields} if file_format in ("csv", "parquet") else {}
    return DataConfig(format=file_format, train=(path,), libffm_fields=39 if file_format == "libffm" else 0, **named)


def deshpc_convert(path, file_format):
    from deshpc.cli.main import main

    config = os.path.join(os.path.dirname(path), "convert.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(f'[data]\nformat = "{file_format}"\ntrain = ["{path}"]\n')
    output, sys.stdout = sys.stdout, sys.stderr
    try:
        if main(["convert", config, "--out", path + ".cache"]):
            raise SystemExit("deshpc convert has failed")
    finally:
        sys.stdout = output
    return 0


def pyarrow(path, file_format):
    import pyarrow.parquet

    if file_format == "parquet":
        return pyarrow.parquet.read_table(path, use_threads=False).num_rows
    return sum(batch.num_rows for batch in pyarrow_batches(path, file_format))


def pyarrow_batches(path, file_format):
    import pyarrow
    from pyarrow import csv

    types = {name: pyarrow.float64() if name[0] == "I" else pyarrow.string() for name in NAMES} | {"label": pyarrow.float32()}
    return csv.open_csv(
        path,
        csv.ReadOptions(use_threads=False, column_names=None if file_format == "csv" else NAMES),
        csv.ParseOptions(delimiter=SEPARATORS[file_format], quote_char='"' if file_format == "csv" else False),
        csv.ConvertOptions(column_types=types),
    )


def pyarrow_convert(path, file_format):
    import pyarrow.parquet

    batches = pyarrow_batches(path, file_format)
    with pyarrow.parquet.ParquetWriter(path + ".arrow.parquet", batches.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return 0


def polars(path, file_format):
    import polars

    if file_format == "parquet":
        return polars.read_parquet(path).height
    return polars_frame(path, file_format).collect().height


def polars_frame(path, file_format):
    import polars

    types = {name: polars.Float64 if name[0] == "I" else polars.String for name in NAMES} | {"label": polars.Float32}
    return polars.scan_csv(
        path,
        separator=SEPARATORS[file_format],
        has_header=file_format == "csv",
        quote_char='"' if file_format == "csv" else None,
        schema=types,
    )


def polars_convert(path, file_format):
    polars_frame(path, file_format).sink_parquet(path + ".polars.parquet")
    return 0


def sklearn(path, file_format):
    from sklearn.datasets import load_svmlight_file

    return load_svmlight_file(path, zero_based=True)[0].shape[0]


READERS = {
    function.__name__: function
    for function in (deshpc, deshpc_convert, pyarrow, pyarrow_convert, polars, polars_convert, sklearn)
}


def main():
    job = json.loads(sys.argv[1])
    read = READERS[job["reader"]]
    read(job["warm"], job["format"])
    begin, cpu_begin = time.perf_counter(), time.process_time()
    rows = read(job["path"], job["format"])
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "rows": rows}))


if __name__ == "__main__":
    main()
