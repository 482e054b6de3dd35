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
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from ranks import gathered, measured, run_on_ranks, share_of_batches
from torch_deep_models import top_of, width_of
from torch_models import ACCUMULATOR, RATE, first_weights, loss_of, warm_up
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.sharding_plan import construct_module_sharding_plan, table_wise
from torchrec.distributed.types import ShardingEnv, ShardingPlan


class Model(torch.nn.Module):
    def __init__(self, tables, top):
        super().__init__()
        self.tables = EmbeddingBagCollection(tables=tables, device=torch.device("meta"))
        self.top, self.width = top, tables[0].embedding_dim

    def forward(self, keys, dense):
        return self.top(self.tables(keys).values().view(len(dense), -1, self.width), dense)


def main(rank, job):
    sizes, ranks, numbers = samples.table_sizes(job["data"]), torch.distributed.get_world_size(), 13
    width = width_of(job)
    by_size = sorted(range(len(sizes)), key=sizes.__getitem__)
    fields_of = [by_size[owner::ranks] for owner in range(ranks)]
    order = [field for fields in fields_of for field in fields]
    starts, names = [0] * len(sizes), [f"c{field}" for field in order]
    for fields in fields_of:
        for before, field in zip(fields, fields[1:], strict=False):
            starts[field] = starts[before] + sizes[before]
    tables = [
        EmbeddingBagConfig(
            name=f"t{owner}", embedding_dim=width, num_embeddings=sum(sizes[field] for field in fields),
            feature_names=[f"c{field}" for field in fields],
        )
        for owner, fields in enumerate(fields_of)
    ]  # fmt: skip
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
        fused = {"optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD, "learning_rate": RATE, "eps": 1e-8}
        top, rate = top_of(job, len(sizes), numbers)
        sharder, model = EmbeddingBagCollectionSharder(fused_params=fused), Model(tables, top)
        plan = construct_module_sharding_plan(
            model.tables, {f"t{owner}": table_wise(owner, compute_kernel="fused") for owner in range(ranks)},
            sharder, local_size=ranks, world_size=ranks, device_type="cpu",
        )  # fmt: skip
        model = DistributedModelParallel(
            model, ShardingEnv.from_process_group(torch.distributed.group.WORLD), torch.device("cpu"),
            ShardingPlan({"tables": plan}), [sharder],
        )  # fmt: skip
        for lookup in model.module.tables._lookups:
            for kernel in lookup._emb_modules:
                for table in kernel.emb_module.split_embedding_weights():
                    first_weights(table)
                for (accumulators,) in kernel.emb_module.split_optimizer_states():
                    accumulators.fill_(ACCUMULATOR)
        dense = [parameter for name, parameter in model.named_parameters() if ".top." in f".{name}"]
        return model, torch.optim.Adagrad(dense, lr=rate, initial_accumulator_value=ACCUMULATOR, fused=True)

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
