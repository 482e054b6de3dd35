"""KuaiRand with histories: DIN's attention to the video that is shown, beside histories that are pooled.  Seeds, AUC, log-loss.

    python scripts/bench/din_quality.py SOURCE [--variants NAME ...] [--seeds 1 2 3] [--threads 2]

SOURCE : the folder of the raw files, see examples/kuairand/README.md
All variants have the rows, embeddings, hidden layers, dropout and stopping of examples/kuairand/deepfm_history.toml; what differs is in VARIANTS.
Choices (learning rate, L2, width of the attention) were made by log-loss on the validation part, by seed 1.  Prints a line a variant: mean (standard deviation) over the seeds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from seeds import spread

EXAMPLE = Path(__file__).parents[2] / "examples" / "kuairand"
HISTORIES = ("history_shown", "history_long_view")
TARGETS = {"fields": [{"name": name, "target": "video_id"} for name in HISTORIES]}
POOLED, APART = {"kind": "sequence"}, {"kind": "sequence", "pooling": "sum", "linear_pooling": ""}  # pooled by their mean, as in the example
SHARED = {"share": "video_id"}
ADAGRAD = {"name": "adagrad", "learning_rate": 0.01, "l2": 1.0}
FASTER = {**ADAGRAD, "learning_rate": 0.02}
VARIANTS = {  # (options of the histories, [model], [optimizer])
    "deepfm": ({}, {}, {}),  # as today: each history a bag of its own, its mean; Adam
    "deepfm_adagrad": ({}, {}, ADAGRAD),
    "deepfm_last_20": ({**POOLED, "length": 20}, {}, ADAGRAD),
    "deepfm_recent": ({**POOLED, "recency": 0.9}, {}, ADAGRAD),
    "wide_deep": ({}, {"name": "wide_deep"}, {}),  # the tower alone
    "wide_deep_adagrad": ({}, {"name": "wide_deep"}, FASTER),
    "wide_deep_shared": ({**POOLED, **SHARED}, {"name": "wide_deep"}, {}),
    "din_adam": ({**APART, **SHARED}, {"name": "din", "init_std": 0.01, **TARGETS}, {}),
    "din": ({**APART, **SHARED}, {"name": "din", **TARGETS}, FASTER),
    "din_slower": ({**APART, **SHARED}, {"name": "din", **TARGETS}, ADAGRAD),
    "din_last_20": ({**APART, **SHARED, "length": 20}, {"name": "din", **TARGETS}, FASTER),
    "din_recent": ({**APART, **SHARED, "recency": 0.9}, {"name": "din", **TARGETS}, FASTER),
    "din_apart": (APART, {"name": "din", **TARGETS}, FASTER),  # histories have rows of their own
    "din_softmax": ({**APART, **SHARED}, {"name": "din", "attention_weights": "softmax", **TARGETS}, FASTER),
}  # fmt: skip


def configuration(variant, seed, data, folder, threads):
    """Nested dictionaries of a variant's run.  data, folder : of the joined files, and of the run"""
    from deshpc.config import load, resolved

    of_histories, model, optimizer = VARIANTS[variant]
    tree = resolved(load(EXAMPLE / "deepfm_history.toml"))
    for field in tree["data"]["fields"]:
        if field["name"] in HISTORIES:
            field.update(of_histories)
    tree["data"].update({part: [str(data / f"{part}.csv.gz")] for part in ("train", "valid", "test")})
    tree["model"].update(model)
    tree["optimizer"].update(optimizer)
    tree["train"]["seed"] = seed
    tree["compute"]["threads_per_rank"] = threads
    tree["run"]["directory"] = str(folder)
    return tree


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    from mpi4py import MPI

    import deshpc

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        subprocess.run([sys.executable, EXAMPLE / "prepare.py", options.source, data], check=True)
        print(f"{'variant':<18}{'valid AUC':>17}{'log-loss':>17}{'test AUC':>17}{'log-loss':>17}{'samples/s':>12}")
        for variant in options.variants:
            results = []
            for seed in options.seeds:
                run = Path(folder) / f"{variant}-{seed}"
                results.append(deshpc.train(configuration(variant, seed, data, run, options.threads), MPI.COMM_SELF))
            columns = [spread([getattr(getattr(one, part), name) for one in results]) for part in ("valid", "test") for name in ("auc", "log_loss")]
            speed = statistics.mean(one.samples_per_s for one in results)
            print(f"{variant:<18}{''.join(f'{one:>17}' for one in columns)}{speed:>12,.0f}", flush=True)


if __name__ == "__main__":
    main()
