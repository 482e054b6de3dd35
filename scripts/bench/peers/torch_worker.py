"""PyTorch on two threads: minibatches of 8192, sparse gradients, `torch.optim`'s sparse SGD or Adagrad.

    torch_worker.py '{"data": FOLDER, "model": "fm", "optimizer": "adagrad", "test": false}'
    torch_worker.py '{"data": FOLDER, "model": "deepfm", "hidden": [400, 400], "compiled": true, "optimizer": "adagrad", "test": false}'

One fused table; a batch is a view of what lies in memory; the rows come in the order of the file, which is random.
"""

import samples
import torch
from noise import Meter
from torch_deep_models import DEEP, Deep
from torch_models import ACCUMULATOR, FM, LR, RATE, batches, loss_of, warm_up


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
    values, fields, numbers = sum(samples.table_sizes(job["data"])), rows[0].shape[1], rows[1].shape[1]
    slices = batches(0, len(rows[0]))

    def fresh():
        if job["model"] in DEEP:
            model = Deep(job, values, fields, numbers)
            return model, optimizer_of(job["optimizer"], model.groups())
        model = {"lr": LR, "fm": FM}[job["model"]](values, numbers)
        return model, optimizer_of(job["optimizer"], model.parameters())

    warm = fresh()
    train(*warm, rows, warm_up(slices))
    del warm
    model, optimizer = fresh()
    meter = Meter()
    train(model, optimizer, rows, slices)
    measured, test_auc = meter.stop(), None
    if job["test"]:
        test = [torch.from_numpy(array) for array in samples.arrays(job["data"], "test")]
        test_auc = samples.auc(score(model, test), test[2])
    samples.report(len(rows[0]), [measured], test_auc)


if __name__ == "__main__":
    main(samples.job())
