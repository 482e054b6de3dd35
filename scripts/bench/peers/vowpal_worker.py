"""Vowpal Wabbit: one sample at a time; a thread that parses and hashes beside one that learns; 22 bits of weights.

    vowpal_worker.py '{"data": FOLDER, "test": false}'

Logistic loss, and the updates that it comes with (adaptive, normalized, invariant).  Timed is its one call, from opening
the text to the end of the pass.  The text has the raw values, which it hashes.
"""

import tempfile
from pathlib import Path

import numpy as np
import samples
import vowpalwabbit
from noise import Meter


def run(*arguments):
    vowpalwabbit.Workspace(arg_list=["--quiet", "--no_stdin", *map(str, arguments)]).finish()


def main(job):
    data, test_auc = Path(job["data"]), None
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        keep = ["-f", folder / "model"] if job["test"] else []
        meter = Meter()
        run("-d", data / "train.vw", "-b", 22, "--loss_function", "logistic", *keep)
        measured = meter.stop()
        if job["test"]:
            run("-d", data / "test.vw", "-t", "-i", folder / "model", "-r", folder / "scores")
            test_auc = samples.auc(np.loadtxt(folder / "scores"), samples.labels_of(data, "test"))
    samples.report(len(samples.labels_of(data, "train")), [measured], test_auc)


if __name__ == "__main__":
    main(samples.job())
