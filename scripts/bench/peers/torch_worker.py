"""PyTorch on two threads: minibatches of 8192, sparse gradients, `torch.optim`'s sparse SGD or Adagrad.

    torch_worker.py '{"data": FOLDER, "model": "fm", "optimizer": "adagrad", "test": false}'

One fused table; a batch is a view of what lies in memory; the rows come in the order of the file, which is random.
"""

import samples
import torch
from noise import Meter
from torch_models import ACCUMULATOR, BATCH, FM, LR, RATE, batches, loss_of


def optimizer_of(name, parameters):
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=RATE / 64)
    return torch.optim.Adagrad(parameters, lr=RATE, initial_accumulator_value=ACCUMULATOR)


def train(model, optimizer, rows, slices):
    indices, dense, labels = rows
    for batch in slices:
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(indices[batch], dense[batch]), labels[batch]).backward()
        optimizer.step()


def score(model, rows):
    with torch.no_grad():
        return torch.cat([model(rows[0][batch], rows[1][batch]) for batch in batches(0, len(rows[0]))]).numpy()


def main(job):
    torch.set_num_threads(2)
    torch.manual_seed(1)
    rows = [torch.from_numpy(array) for array in samples.arrays(job["data"], "train")]
    size = sum(samples.table_sizes(job["data"])), rows[1].shape[1]
    model = {"lr": LR, "fm": FM}[job["model"]]
    warm = model(*size)
    train(warm, optimizer_of(job["optimizer"], warm.parameters()), rows, batches(0, 3 * BATCH))
    del warm
    model = model(*size)
    optimizer = optimizer_of(job["optimizer"], model.parameters())
    meter = Meter()
    train(model, optimizer, rows, batches(0, len(rows[0])))
    measured, test_auc = meter.stop(), None
    if job["test"]:
        test = [torch.from_numpy(array) for array in samples.arrays(job["data"], "test")]
        test_auc = samples.auc(score(model, test), test[2])
    samples.report(len(rows[0]), [measured], test_auc)


if __name__ == "__main__":
    main(samples.job())
