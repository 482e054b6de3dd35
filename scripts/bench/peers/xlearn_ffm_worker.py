"""xLearn's field-aware factorization machine on libffm files: lock-free threads, one sample at a time, Adagrad.

    xlearn_ffm_worker.py '{"folder": FOLDER, "epochs": 1, "rate": 0.2, "threads": 2, "normalise": true}'

A pass is timed as in xlearn_worker.py, from its binary form: reading and making the model do not count.  L2 is 2e-5, as it comes.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import xlearn
from xlearn_worker import Watched, scores


def main(job):
    data = Path(job["folder"])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        learner = xlearn.create_ffm()
        learner.setTrain(str(data / "train.ffm"))
        learner.disableEarlyStop()
        if not job["normalise"]:
            learner.disableNorm()
        settings = {
            "task": "binary", "opt": "adagrad", "lr": job["rate"], "lambda": 2e-5, "k": 4, "epoch": job["epochs"], "nthread": job["threads"],
            "log": str(folder / "log"),
        }  # fmt: skip
        watched = Watched("Start to train", "100%")
        try:
            learner.fit(settings, str(folder / "model"))
            learner.setSigmoid()
            found = scores(learner, folder / "model", data / "test.ffm", folder)
        finally:
            watched.close()
        labels = np.load(data / "test.labels.npy")
        p = np.clip(found, 1e-15, 1 - 1e-15)
        loss = -np.where(labels > 0.5, np.log(p), np.log1p(-p)).mean()
        samples = len(np.load(data / "train.labels.npy"))
    print(json.dumps({**job, **watched.measured, "samples_per_s": round(job["epochs"] * samples / watched.measured["seconds"]), "log_loss": loss}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
