"""torchrec in two processes (gloo), tables whole on a rank each, fused row-wise Adagrad: FM in minibatches of 8192.

    torchrec_worker.py '{"data": FOLDER, "test": false}'

A rank has 4096 samples of a batch and one table that holds the values of 13 fields, which is faster than 13 tables; the
fields take turns by size, so that both tables have about the same.  A row is [v, w] padded to 20 floats.  Rows of other
ranks' tables travel by torchrec's all-to-all; dense parameters are trained by its data-parallel wrapper.  Batches lie in
torchrec's form, KeyedJaggedTensor, before the clock starts.
"""

import samples
import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from ranks import RANKS, gathered, measured, run_on_ranks, share_of_batches
from torch_models import ACCUMULATOR, RATE, FMTop, first_weights, loss_of
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.sharding_plan import construct_module_sharding_plan, table_wise
from torchrec.distributed.types import ShardingEnv, ShardingPlan

WIDTH = 20


class FM(torch.nn.Module):
    def __init__(self, tables, numbers):
        super().__init__()
        self.tables = EmbeddingBagCollection(tables=tables, device=torch.device("meta"))
        self.top = FMTop(numbers)

    def forward(self, keys, dense):
        return self.top(self.tables(keys).values().view(len(dense), -1, WIDTH), dense)


def main(rank, job):
    sizes = samples.table_sizes(job["data"])
    by_size = sorted(range(len(sizes)), key=sizes.__getitem__)
    fields_of = [by_size[owner::RANKS] for owner in range(RANKS)]
    order = [field for fields in fields_of for field in fields]
    starts, names = [0] * len(sizes), [f"c{field}" for field in order]
    for fields in fields_of:
        for before, field in zip(fields, fields[1:], strict=False):
            starts[field] = starts[before] + sizes[before]
    tables = [
        EmbeddingBagConfig(
            name=f"t{owner}", embedding_dim=WIDTH, num_embeddings=sum(sizes[field] for field in fields),
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
        sharder, model = EmbeddingBagCollectionSharder(fused_params=fused), FM(tables, 13)
        plan = construct_module_sharding_plan(
            model.tables, {f"t{owner}": table_wise(owner, compute_kernel="fused") for owner in range(RANKS)},
            sharder, local_size=RANKS, world_size=RANKS, device_type="cpu",
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
        return model, torch.optim.Adagrad(dense, lr=RATE, initial_accumulator_value=ACCUMULATOR)

    def train(model, optimizer, batches):
        for keys, dense, labels in batches:
            optimizer.zero_grad(set_to_none=True)
            loss_of(model(keys, dense), labels).backward()
            optimizer.step()

    batches = load("train")
    warm = fresh()
    train(*warm, batches[:3])
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
