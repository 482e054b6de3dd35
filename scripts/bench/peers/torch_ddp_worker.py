"""PyTorch's DistributedDataParallel in two processes (gloo): the model of torch_worker.py on each, sparse gradients added up.

torch_ddp_worker.py '{"data": FOLDER, "model": "fm", "optimizer": "adagrad", "test": false}'
"""

import samples
import torch
from ranks import measured, run_on_ranks, share_of_batches
from torch.nn.parallel import DistributedDataParallel
from torch_models import FM, LR
from torch_worker import optimizer_of, score, train


def main(rank, job):
    rows = [torch.from_numpy(array) for array in samples.arrays(job["data"], "train")]
    size = sum(samples.table_sizes(job["data"])), rows[1].shape[1]
    slices = share_of_batches(rank, len(rows[0]))

    def fresh():
        model = DistributedDataParallel({"lr": LR, "fm": FM}[job["model"]](*size))
        return model, optimizer_of(job["optimizer"], model.parameters())

    warm = fresh()
    train(*warm, rows, slices[:3])
    del warm
    model, optimizer = fresh()
    measures, test_auc = measured(lambda: train(model, optimizer, rows, slices)), None
    if job["test"] and rank == 0:
        test = [torch.from_numpy(array) for array in samples.arrays(job["data"], "test")]
        test_auc = samples.auc(score(model.module, test), test[2])
    if rank == 0:
        samples.report(len(rows[0]), [measures], test_auc)


if __name__ == "__main__":
    run_on_ranks(main, samples.job())
