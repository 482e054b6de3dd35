"""Reading text and Parquet into columns on one core, beside pyarrow, polars and scikit-learn: MB/s and rows/s.

    python scripts/bench/parse.py [--megabytes 200] [--repeats 5] [--peers PYTHON] [--json parse.json]

The files have Criteo's shape, with its shares of missing cells and its lengths: 13 integers and 26 hexadecimal values a
row, as Criteo's text, as CSV, as Parquet (MB are those of the file), as libsvm and libffm with an entry a cell, these
two of a quarter of the size.  They are in the page cache, as they have just been written.  `convert` also writes:
deshpc the cache from which it trains, the others Parquet.  Each reading has a process of its own (parse_worker.py) on
one core, where it has read a small file before; the readers take turns; medians and ranges are printed.

polars has an environment of its own: PYTHON, or one that is made from PyPI in the temporary folder.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

WORKER = Path(__file__).parent / "parse_worker.py"
DISTINCT_ROWS = 50_000  # written again and again: far more than a branch predictor learns by heart
MISSING_INTEGERS = [0.45, 0, 0.21, 0.22, 0.03, 0.22, 0.04, 0, 0.04, 0.45, 0.04, 0.76, 0.22]
MEAN_INTEGERS = [3.5, 106, 27, 7, 18539, 116, 16, 12.5, 106, 0.6, 2.7, 1, 8]
MISSING_VALUES = {
    "C3": 0.03, "C4": 0.03, "C6": 0.12, "C12": 0.03, "C16": 0.03, "C19": 0.44, "C20": 0.44, "C21": 0.03, "C22": 0.76,
    "C24": 0.03, "C25": 0.44, "C26": 0.44,
}  # fmt: skip
NAMES = ["label", *(f"I{i + 1}" for i in range(13)), *(f"C{i + 1}" for i in range(26))]
READINGS = [  # name of a file, readers
    ("criteo", ["deshpc", "pyarrow", "polars", "deshpc_convert", "pyarrow_convert", "polars_convert"]),
    ("csv", ["deshpc", "pyarrow", "polars"]),
    ("parquet", ["deshpc", "pyarrow", "polars"]),
    ("libsvm", ["deshpc", "sklearn"]),
    ("libffm", ["deshpc"]),
]


def cells(rows):
    """Rows of Criteo's shape: (rows, 40) cells."""
    rng = np.random.default_rng(1)
    columns = [rng.integers(0, 4, rows) == 0]
    for missing, mean in zip(MISSING_INTEGERS, MEAN_INTEGERS, strict=True):
        numbers = np.floor(rng.lognormal(np.log(mean), 1.3, rows) / 2.3).astype(int)  # the factor keeps the mean
        if not missing:
            numbers[rng.random(rows) < 0.1] = -1
        columns.append(np.where(rng.random(rows) < missing, "", np.char.mod("%d", numbers)))
    for name in NAMES[14:]:
        values = np.char.mod("%08x", (10 ** rng.uniform(0, 6, rows)).astype(np.uint64) * np.uint64(2654435761) % np.uint64(2**32))
        columns.append(np.where(rng.random(rows) < MISSING_VALUES.get(name, 0), "", values))
    columns[0] = np.char.mod("%d", columns[0].astype(int))
    return list(zip(*(column.tolist() for column in columns), strict=True))


def entries(row):
    """The cells of a row as (field, index, value): an integer is the value of index 0, anything else an index."""
    for field, cell in enumerate(row[1:]):
        if cell:
            yield (field, 0, f"{np.log1p(max(0, int(cell))):.4f}") if field < 13 else (field, int(cell, 16) % 10**6, "1")


def libsvm_line(row):
    """An index of its own for each integer, and sorted, distinct indices, as scikit-learn wants them."""
    values = {field if field < 13 else index: value for field, index, value in entries(row)}
    return " ".join([row[0], *(f"{index}:{values[index]}" for index in sorted(values))])


def libffm_line(row):
    return " ".join([row[0], *(f"{field}:{index}:{value}" for field, index, value in entries(row))])


def write_files(folder, megabytes):
    """A large and a small file of each format; their paths by format."""
    rows = cells(DISTINCT_ROWS)
    texts = {
        "criteo": ("", "\t".join, 1),
        "csv": (",".join(NAMES) + "\n", ",".join, 1),
        "libsvm": ("", libsvm_line, 4),
        "libffm": ("", libffm_line, 4),
    }
    files = {}
    for name, (header, line, part) in texts.items():
        text = "".join(line(row) + "\n" for row in rows)
        files[name] = folder / f"large.{name}", folder / f"small.{name}"
        for path, copies in zip(files[name], (max(1, round(megabytes * 1e6 / part / len(text))), 1), strict=True):
            with open(path, "w", encoding="utf-8") as file:
                file.write(header)
                for _ in range(copies):
                    file.write(text)
    files["parquet"] = [path.with_suffix(".parquet") for path in files["csv"]]
    for text, target in zip(files["csv"], files["parquet"], strict=True):
        write_parquet(text, target)
    return files


def write_parquet(text, target):
    import pyarrow
    from pyarrow import csv, parquet

    types = dict.fromkeys(NAMES[14:], pyarrow.string())
    table = csv.read_csv(text, convert_options=csv.ConvertOptions(column_types=types))
    parquet.write_table(table, target, row_group_size=65_536)


def peers_python(folder):
    """A Python that has polars, from PyPI; None if that cannot be had."""
    python = folder / "peers" / "bin" / "python"
    try:
        subprocess.run([sys.executable, "-m", "venv", folder / "peers"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "polars"], check=True)
    except subprocess.CalledProcessError as error:
        print(f"without polars: {error}", file=sys.stderr)
        return None
    return python


def measure(python, reader, name, paths):
    """The worker's report of one reading; None if it has failed."""
    job = {"reader": reader, "format": name, "path": str(paths[0]), "warm": str(paths[1])}
    done = subprocess.run([python, WORKER, json.dumps(job)], capture_output=True, text=True)
    if done.returncode:
        print(f"{name} by {reader}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", type=Path, help="a Python that has polars")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        files = write_files(folder, options.megabytes)
        with open(files["criteo"][0], "rb") as file:
            rows = sum(1 for _ in file)
        peers = options.peers or peers_python(folder)
        runs = {(name, reader): [] for name, readers in READINGS for reader in readers if peers or "polars" not in reader}
        for name, reader in list(runs):
            python = peers if "polars" in reader else sys.executable
            if measure(python, reader, name, [files[name][1]] * 2) is None:  # also compiles, outside of the measurement
                del runs[name, reader]
        for _ in range(options.repeats):
            for (name, reader), reports in runs.items():
                reports.append(measure(peers if "polars" in reader else sys.executable, reader, name, files[name]))
        sizes = {name: paths[0].stat().st_size for name, paths in files.items()}
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; one core, "
          f"medians of {options.repeats}, lowest and highest; last: MB for a second of the processor")  # fmt: skip
    result = []
    for (name, reader), reports in runs.items():
        seconds = statistics.median(report["seconds"] for report in reports)
        rates = [sizes[name] / report["seconds"] / 1e6 for report in reports]
        count = reports[0]["rows"] or rows
        busy = sizes[name] / 1e6 / statistics.median(report["cpu_seconds"] for report in reports)
        print(f"{name:<9}{reader.replace('_', ' '):<16}{sizes[name] / seconds / 1e6:8,.0f} MB/s "
              f"({min(rates):,.0f} - {max(rates):,.0f}){count / seconds / 1e6:8.2f} M rows/s{busy:8,.0f} MB")  # fmt: skip
        result.append({"format": name, "reader": reader, "bytes": sizes[name], "rows": count, "runs": reports})
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
