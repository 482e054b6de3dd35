"""scikit-learn's SGDClassifier: one sample at a time, one thread, compressed sparse rows in memory, one `partial_fit`.

sklearn_worker.py '{"data": FOLDER, "test": false}'
"""

import numpy as np
import samples
from noise import Meter
from scipy.sparse import csr_matrix
from sklearn.linear_model import SGDClassifier


def matrix(indices, dense, features):
    """The rows as compressed sparse rows: the numbers are columns 0 .. 12."""
    columns = np.concatenate(
        [np.broadcast_to(np.arange(dense.shape[1], dtype=np.int32), dense.shape), dense.shape[1] + indices], 1
    )
    values = np.concatenate([dense, np.ones(indices.shape, np.float32)], 1)
    offsets = np.arange(len(columns) + 1, dtype=np.int32) * columns.shape[1]
    return csr_matrix((values.ravel(), columns.ravel(), offsets), (len(columns), features + dense.shape[1]))


def main(job):
    features = sum(samples.table_sizes(job["data"]))
    indices, dense, labels = samples.arrays(job["data"], "train")
    rows = matrix(indices, dense, features)
    model = SGDClassifier(loss="log_loss", alpha=1e-7, learning_rate="constant", eta0=0.01, random_state=1)
    model.partial_fit(rows[:100], labels[:100], classes=[0, 1])  # allocates
    meter = Meter()
    model.partial_fit(rows, labels)
    measured, test_auc = meter.stop(), None
    if job["test"]:
        indices, dense, test_labels = samples.arrays(job["data"], "test")
        test_auc = samples.auc(model.decision_function(matrix(indices, dense, features)), test_labels)
    samples.report(len(labels), [measured], test_auc)


if __name__ == "__main__":
    main(samples.job())
