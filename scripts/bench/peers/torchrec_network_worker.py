"""torchrec over gloo between hosts, a process of one thread on each; started by network_peers.py under mpiexec, which says who is who.

    torchrec_network_worker.py JOB.json

JOB: "data" (the folder of network_peers.py), "model" (fm, or wide_deep with "hidden"), "address" of rank 0, "batch" (samples of a rank), "passes".
Tables are whole on a rank each, the only sharding that torchrec has on CPUs for 16 columns; a rank has every so manyth field by size,
in one table.  Fused row-wise Adagrad; a row is [v, w] padded to 20 floats.  Pooled embeddings travel by torchrec's all-to-all, dense
parameters are trained by its data-parallel wrapper.  FM is torchrec's: pairs of fields' pooled embeddings.  Indices are 32 bits wide.

Rank 0 prints one line of JSON: {"samples" of a pass, "seconds" of the slowest rank for each pass}.
"""

import json
import logging
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torch_deep_models import top_of, width_of
from torch_models import ACCUMULATOR, RATE, first_weights, loss_of
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.sharding_plan import construct_module_sharding_plan, table_wise
from torchrec.distributed.types import ShardingEnv, ShardingPlan

WARM_UP = 2  # steps


class Model(torch.nn.Module):
    def __init__(self, tables, weighted, top):
        super().__init__()
        self.tables = EmbeddingBagCollection(tables=tables, is_weighted=weighted, device=torch.device("meta"))
        self.top, self.width = top, tables[0].embedding_dim

    def forward(self, keys):
        rows = self.tables(keys).values().view(keys.stride(), -1, self.width)
        return self.top(rows, rows.new_zeros(len(rows), 0))


def fields_of_ranks(sizes, ranks):
    """Fields of each rank: they take turns by size."""
    by_size = sorted(range(len(sizes)), key=sizes.__getitem__)
    return [by_size[owner::ranks] for owner in range(ranks)]


def batches_of(folder, order, starts, rank, ranks, batch):
    """[(KeyedJaggedTensor, labels)] of this rank's parts of the global batches.

    order : fields in the order of the ranks that have them;  starts : first row of each field in its rank's table
    """
    offsets, rows, fields, labels, *values = (
        np.load(folder / f"{name}.npy") for name in ("offsets", "rows", "fields", "labels", "values") if (folder / f"{name}.npy").exists()
    )
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    found = []
    for begin in range(rank * batch, len(labels), ranks * batch):
        own = slice(int(offsets[begin]), int(offsets[begin + batch]))
        samples = np.repeat(np.arange(batch), np.diff(offsets[begin : begin + batch + 1]))
        lines = place[fields[own]] * batch + samples
        sorted_by_field = np.argsort(lines, kind="stable")
        indices = (rows[own] + np.array(starts)[fields[own]])[sorted_by_field].astype(np.int32)
        weights = torch.from_numpy(values[0][own][sorted_by_field]) if values else None
        lengths = np.bincount(lines, minlength=len(order) * batch).astype(np.int32)
        keys = KeyedJaggedTensor([f"c{field}" for field in order], torch.from_numpy(indices), weights, lengths=torch.from_numpy(lengths))
        keys.offsets()  # made before the clock starts
        found.append((keys, torch.from_numpy(labels[begin : begin + batch])))
    return found


def built(job, sizes, fields, weighted, ranks):
    """(model, optimizer of its dense parameters)."""
    tables = [
        EmbeddingBagConfig(
            name=f"t{owner}", embedding_dim=width_of(job), num_embeddings=sum(sizes[field] for field in own),
            feature_names=[f"c{field}" for field in own],
        )
        for owner, own in enumerate(fields)
    ]  # fmt: skip
    sharder = EmbeddingBagCollectionSharder(
        fused_params={"optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD, "learning_rate": RATE, "eps": 1e-8}
    )
    top, rate = top_of(job, len(sizes), 0)
    model = Model(tables, weighted, top)
    plan = construct_module_sharding_plan(
        model.tables, {f"t{owner}": table_wise(owner, compute_kernel="fused") for owner in range(ranks)},
        sharder, local_size=1, world_size=ranks, device_type="cpu",
    )  # fmt: skip
    model = DistributedModelParallel(
        model, ShardingEnv.from_process_group(torch.distributed.group.WORLD), torch.device("cpu"), ShardingPlan({"tables": plan}), [sharder],
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
    for keys, labels in batches:
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(keys), labels).backward()
        optimizer.step()


def main(job):
    rank, ranks, folder = int(os.environ["PMI_RANK"]), int(os.environ["PMI_SIZE"]), Path(job["data"])
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", GLOO_SOCKET_IFNAME="eth0")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.manual_seed(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://{job['address']}", rank=rank, world_size=ranks)
    sizes = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
    fields, starts = fields_of_ranks(sizes, ranks), [0] * len(sizes)
    for own in fields:
        for before, field in zip(own, own[1:], strict=False):
            starts[field] = starts[before] + sizes[before]
    batches = batches_of(folder, [field for own in fields for field in own], starts, rank, ranks, job["batch"])
    model, optimizer = built(job, sizes, fields, (folder / "values.npy").exists(), ranks)
    train(model, optimizer, batches[:WARM_UP])
    seconds = []
    for _ in range(job["passes"]):
        torch.distributed.barrier()
        begin = time.perf_counter()
        train(model, optimizer, batches)
        taken = torch.tensor([time.perf_counter() - begin], dtype=torch.float64)
        torch.distributed.all_reduce(taken, torch.distributed.ReduceOp.MAX)
        seconds.append(taken.item())
    if rank == 0:
        print(json.dumps({"samples": len(batches) * job["batch"] * ranks, "seconds": seconds}), flush=True)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
