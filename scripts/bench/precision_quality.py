"""What train.precision = "bfloat16" does to test AUC, beside float32: on real data and on generated rows.

    python scripts/bench/precision_quality.py [--movielens SOURCE] [--kuairand SOURCE] [--generated ROWS] [--ranks 2] [--seeds 1 2 3]
                                              [--out docs/measured/precision_quality.json]

SOURCE : folders of raw files, see examples/*/prepare.py.  The configurations of the examples are trained as they are, FM and DeepFM, from
each seed by each precision.
ROWS : of the profile criteo, generated, of which the test part is a tenth as many; FM, k = 16, two passes, by each rule of `RULES`.

Printed: mean test AUC and log-loss of float32 and their standard deviation over the seeds, and by how much bfloat16 differs from float32 of
the same seed: mean, and the largest of all seeds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from wire_quality import EXAMPLES, MODELS, prepared_parts, row, scores

PRECISIONS = ("float32", "bfloat16")
RULES = ("adagrad", "rowwise_adagrad", "adam", "ftrl", "sgd")
RATES = {"adam": 0.001, "ftrl": 0.05, "sgd": 1.0}  # others: the default

GENERATED = """
[data]
format = "synthetic"
synthetic = {{ profile = "criteo", train_rows = {rows}, test_rows = {test_rows} }}
[model]
name = "fm"
dim = 16
[optimizer]
name = "{rule}"
learning_rate = {rate}
[train]
epochs = 2
global_batch_samples = 2048
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movielens", type=Path)
    parser.add_argument("--kuairand", type=Path)
    parser.add_argument("--generated", type=int, default=0)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path)
    options, results = parser.parse_args(), {}

    def compare(name, config, parts=()):
        results[name] = {
            precision: [scores(config, [*parts, f"train.precision={precision}"], seed, options.ranks) for seed in options.seeds]
            for precision in PRECISIONS
        }  # fmt: skip
        print(row(name, results[name]), flush=True)
        if options.out:
            options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    print("| model | test AUC | bfloat16 | test log-loss | bfloat16 |\n|---|---|---|---|---|")
    for example, models in MODELS.items():
        if (source := getattr(options, example)) is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, EXAMPLES / example / "prepare.py", source, folder], check=True, stdout=subprocess.DEVNULL)
            for model in models:
                compare(f"{example}, {model}", EXAMPLES / example / f"{model}.toml", prepared_parts(example, Path(folder)))
    for rule in RULES if options.generated else ():
        with tempfile.TemporaryDirectory() as folder:
            config, rows = Path(folder) / "config.toml", options.generated
            config.write_text(GENERATED.format(rows=rows, test_rows=rows // 10, rule=rule, rate=RATES.get(rule, 0.05)), encoding="utf-8")
            compare(f"criteo, {rows:,} rows, fm, {rule}", config)


if __name__ == "__main__":
    main()
