"""xLearn: one sample at a time on two lock-free threads, Adagrad, rate 0.2 and L2 2e-5 as it comes, k = 16.

    xlearn_worker.py '{"data": FOLDER, "model": "fm", "source": "memory", "test": false}'

xLearn trains from files alone.  `memory`: it reads the binary form that it has left beside the text in an earlier run; the
pass is timed between the lines that it prints at the pass's begin and end, so reading and making the model do not count.
`text`: there is no binary form; timed is everything from opening the text to the end of the pass, which is parsing,
writing the binary form (it cannot do without), making the model and training.  Its indices are ready in the text.
Training from disk instead was slower: it parses the text twice.

Its output goes to a pseudo-terminal, since it is only then written line by line.
"""

import os
import pty
import tempfile
import threading
from pathlib import Path

import numpy as np
import samples
import xlearn
from noise import Meter


class Watched:
    """Standard output on a pseudo-terminal, and what a Meter has measured between two texts in it."""

    def __init__(self, begin, end):
        self._begin, self._end, self.measured, self.text = begin, end, None, ""
        self._terminal, writing = pty.openpty()
        self._stdout = os.dup(1)
        os.dup2(writing, 1)
        os.close(writing)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        meter = None
        while True:
            try:
                self.text += os.read(self._terminal, 4096).decode(errors="replace")
            except OSError:  # the other end is closed
                return
            if meter is None and self._begin in self.text:
                meter = Meter()
            if meter and self.measured is None and self._end in self.text:
                self.measured = meter.stop()

    def close(self):
        os.dup2(self._stdout, 1)
        self._reader.join()
        os.close(self._terminal)


def scores(learner, model, text, folder):
    """(n) raw scores of the rows of a file."""
    learner.setTest(str(text))
    learner.predict(str(model), str(folder / "scores"))
    return np.loadtxt(folder / "scores")


def main(job):
    data, test_auc = Path(job["data"]), None
    begin = "Start to train" if job["source"] == "memory" else "Read Problem"
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        text = data / "train.libsvm"
        if job["source"] == "text":  # another name, beside which no binary form lies
            text = folder / text.name
            text.symlink_to(data / text.name)
        learner = xlearn.create_fm() if job["model"] == "fm" else xlearn.create_linear()
        learner.setTrain(str(text))
        learner.disableEarlyStop()
        settings = {
            "task": "binary", "opt": "adagrad", "lr": 0.2, "lambda": 2e-5, "k": 16, "epoch": 1, "nthread": 2,
            "log": str(folder / "log"),
        }  # fmt: skip
        watched = Watched(begin, "100%")
        try:
            learner.fit(settings, str(folder / "model") if job["test"] else "none")
            if job["test"]:
                found = scores(learner, folder / "model", data / "test.libsvm", folder)
                test_auc = samples.auc(found, samples.labels_of(data, "test"))
        finally:
            watched.close()
    samples.report(len(samples.labels_of(data, "train")), [watched.measured], test_auc)


if __name__ == "__main__":
    main(samples.job())
