"""torchrec in two processes (gloo), tables whole on a rank each, fused row-wise Adagrad, minibatches of 8192.

    torchrec_worker.py '{"data": FOLDER, "test": false}'
    torchrec_worker.py '{"data": FOLDER, "model": "deepfm", "hidden": [400, 400], "ranks": 1, "test": false}'

FM or a deep model (torch_deep_models.py).  A rank has 4096 samples of a batch and one table that holds the values of 13
fields, which is faster than 13 tables; the fields take turns by size, so that both tables have about the same.  A row is
[v, w] padded to 20 floats, or v.  Rows of other ranks' tables travel by torchrec's all-to-all; dense parameters are trained by
its data-parallel wrapper, DDP.  Batches lie in torchrec's form, KeyedJaggedTensor, before the clock starts.  With "ranks" 1 it is
one process of two threads with one table.
"""

import samples
import torch
from ranks import gathered, measured, run_on_ranks, share_of_batches
from torch_deep_models import top_of, width_of
from torch_models import loss_of, warm_up
from torchrec import EmbeddingBagCollection, KeyedJaggedTensor
from torchrec_sharded import fields_of_ranks, sharded, starts_of, tables_of


class Model(torch.nn.Module):
    def __init__(self, tables, top):
        super().__init__()
        self.tables = EmbeddingBagCollection(tables=tables, device=torch.device("meta"))
        self.top, self.width = top, tables[0].embedding_dim

    def forward(self, keys, dense):
        return self.top(self.tables(keys).values().view(len(dense), -1, self.width), dense)


def main(rank, job):
    sizes, ranks, numbers = samples.table_sizes(job["data"]), torch.distributed.get_world_size(), 13
    fields_of = fields_of_ranks(sizes, ranks)
    order = [field for fields in fields_of for field in fields]
    starts, names = starts_of(sizes, fields_of), [f"c{field}" for field in order]
    tables = tables_of(sizes, fields_of, width_of(job))
    shift = torch.tensor([0, *sizes[:-1]]).cumsum(0) - torch.tensor(starts)

    def load(part):
        indices, dense, labels = (torch.from_numpy(array) for array in samples.arrays(job["data"], part))
        indices = (indices - shift)[:, order]
        return [
            (
                KeyedJaggedTensor(
                    names, indices[batch].T.reshape(-1), lengths=torch.ones(indices[batch].numel(), dtype=torch.int32),
                    offsets=torch.arange(indices[batch].numel() + 1, dtype=torch.int32),
                ),
                dense[batch], labels[batch],
            )
            for batch in share_of_batches(rank, len(labels))
        ]  # fmt: skip

    def fresh():
        top, rate = top_of(job, len(sizes), numbers)
        return sharded(Model(tables, top), rate, ranks, ranks)

    def train(model, optimizer, batches):
        for keys, dense, labels in batches:
            optimizer.zero_grad(set_to_none=True)
            loss_of(model(keys, dense), labels).backward()
            optimizer.step()

    batches = load("train")
    warm = fresh()
    train(*warm, warm_up(batches))
    del warm
    model, optimizer = fresh()
    measures = measured(lambda: train(model, optimizer, batches))
    test_auc = None
    if job["test"]:
        with torch.no_grad():
            test = [(model(keys, dense), labels) for keys, dense, labels in load("test")]
        test_auc = samples.auc(*(gathered(torch.cat(column)).numpy() for column in zip(*test, strict=True)))
    if rank == 0:
        samples.report(len(samples.labels_of(job["data"], "train")), [measures], test_auc)


if __name__ == "__main__":
    run_on_ranks(main, samples.job())
