"""xLearn's field-aware factorization machine on libffm files: lock-free threads, one sample at a time, Adagrad.

    xlearn_ffm_worker.py '{"data": FOLDER, "passes": 1, "rate": 0.2, "threads": 2, "normalise": true}'

Passes are timed together, as in xlearn_worker.py, from its binary form: reading and making the model do not count.  L2 is 2e-5, as it comes.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import xlearn
from ffm_data import log_loss
from xlearn_worker import Watched, scores


def main(job):
    data = Path(job["data"])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        learner = xlearn.create_ffm()
        learner.setTrain(str(data / "train.ffm"))
        learner.disableEarlyStop()
        if not job["normalise"]:
            learner.disableNorm()
        settings = {
            "task": "binary", "opt": "adagrad", "lr": job["rate"], "lambda": 2e-5, "k": 4, "epoch": job["passes"], "nthread": job["threads"],
            "log": str(folder / "log"),
        }  # fmt: skip
        watched = Watched("Start to train", "100%")
        try:
            learner.fit(settings, str(folder / "model"))
            learner.setSigmoid()
            found = scores(learner, folder / "model", data / "test.ffm", folder)
        finally:
            watched.close()
    samples = len(np.load(data / "train.labels.npy"))
    loss = log_loss(found, np.load(data / "test.labels.npy"))
    print(json.dumps({"samples": job["passes"] * samples, "passes": [{**watched.measured, "log_loss": loss}]}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
