"""What train.wire = "bfloat16" and "float16" do to test AUC on real data, beside whole numbers.

    python scripts/bench/wire_quality.py [--movielens SOURCE] [--kuairand SOURCE] [--ranks 2] [--seeds 1 2 3] [--out docs/measured/wire_quality.json]

SOURCE : folders of raw files, see examples/*/prepare.py.  The configurations of the examples are trained as they are, FM and DeepFM, from
each seed by each wire.  Printed: mean test AUC and log-loss of whole numbers and their standard deviation over the seeds, and by how
much each narrow wire differs from whole numbers of the same seed: mean, and the largest of all seeds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BIN, EXAMPLES = Path(sys.executable).parent, Path(__file__).resolve().parents[2] / "examples"
WIRES = ("full", "bfloat16", "float16")
MODELS = {"movielens": ("implicit_fm", "implicit_deepfm"), "kuairand": ("fm", "deepfm")}


def prepared_parts(example, data):
    """Options that say where the prepared files of an example are."""
    kind = "implicit_" if example == "movielens" else ""
    return [f"data.{part}={next(data.glob(f'*{kind}{part}.csv.gz'))}" for part in ("train", "valid", "test")]


def scores(config, options, seed, ranks):
    """{"auc", "log_loss"} of the test part, and the bytes of a sample that an average rank sent as partials or rows."""
    with tempfile.TemporaryDirectory() as run:
        options = [*options, f"train.seed={seed}", f"run.directory={run}", "compute.threads_per_rank=1"]
        flags = [part for option in options for part in ("--set", option)]
        command = [BIN / "mpiexec", "-n", str(ranks), sys.executable, "-m", "deshpc", "train", config, "--overwrite", *flags]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"exit code {done.returncode}\n{done.stderr[-2000:]}")
        lines = map(json.loads, (Path(run) / "record.jsonl").read_text(encoding="utf-8").splitlines())
        result = next(line for line in lines if line["event"] == "result")
    return {"auc": result["test"]["auc"], "log_loss": result["test"]["log_loss"], "bytes": result["bytes_per_sample"]}


def row(name, found):
    """A line of the table.  found : {kind of numbers: [scores of each seed]}, whole ones first"""
    whole, *narrow = found.values()
    cells = []
    for metric, digits in (("auc", 4), ("log_loss", 4)):
        values = [one[metric] for one in whole]
        cells.append(f"{statistics.mean(values):.{digits}f} ({statistics.stdev(values) if len(values) > 1 else 0:.4f})")
        for other in narrow:
            gaps = [one[metric] - wide[metric] for one, wide in zip(other, whole, strict=True)]
            cells.append(f"{statistics.mean(gaps):+.5f} ({max(gaps, key=abs):+.5f})")
    return f"| {name} | " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movielens", type=Path)
    parser.add_argument("--kuairand", type=Path)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path)
    options, results = parser.parse_args(), {}
    print("| model | test AUC | bfloat16 | float16 | test log-loss | bfloat16 | float16 |\n|---|---|---|---|---|---|---|")
    for example, models in MODELS.items():
        if (source := getattr(options, example)) is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, EXAMPLES / example / "prepare.py", source, folder], check=True, stdout=subprocess.DEVNULL)
            for model in models:
                name, config, parts = f"{example}, {model}", EXAMPLES / example / f"{model}.toml", prepared_parts(example, Path(folder))
                results[name] = {
                    wire: [scores(config, [*parts, f"train.wire={wire}"], seed, options.ranks) for seed in options.seeds] for wire in WIRES
                }  # fmt: skip
                print(row(name, results[name]), flush=True)
                if options.out:
                    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
