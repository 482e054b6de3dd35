"""xLearn's FM on the first rows of quality.py's data; run by the peers' Python.

    python scripts/bench/quality_xlearn.py FOLDER '{"rows": 900000, "epochs": 1, "rate": 0.2, "dim": 16}'

FOLDER has test.libsvm and train-ROWS.libsvm.  xLearn prints the time of each epoch in its table, reading and making the
model not counted, and evaluates nothing on the way as it is given no validation file; the last line is JSON: AUC on test.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import xlearn
from sklearn.metrics import roc_auc_score


def main(folder, job):
    os.environ.setdefault("USER", "nobody")  # without it xLearn ends itself
    learner = xlearn.create_fm()
    learner.setTrain(str(folder / f"train-{job['rows']}.libsvm"))
    learner.setTest(str(folder / "test.libsvm"))
    learner.disableEarlyStop()
    with tempfile.TemporaryDirectory() as scratch:
        learner.fit({
            "task": "binary", "opt": "adagrad", "lr": job["rate"], "lambda": 2e-5, "k": job["dim"], "epoch": job["epochs"],
            "nthread": 2, "log": f"{scratch}/log",
        }, f"{scratch}/model")  # fmt: skip
        learner.predict(f"{scratch}/model", f"{scratch}/scores")
        scores = np.loadtxt(f"{scratch}/scores")
    with np.load(folder / "test.npz") as test:
        auc = roc_auc_score(test["labels"], scores)
    sys.stdout.flush()
    print(json.dumps({**job, "auc": auc}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
