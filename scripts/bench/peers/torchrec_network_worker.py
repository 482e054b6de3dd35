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
from torch_deep_models import top_of, width_of
from torch_models import loss_of
from torchrec import EmbeddingBagCollection, KeyedJaggedTensor
from torchrec_sharded import fields_of_ranks, sharded, starts_of, tables_of

WARM_UP = 2  # steps


class Model(torch.nn.Module):
    def __init__(self, tables, weighted, top):
        super().__init__()
        self.tables = EmbeddingBagCollection(tables=tables, is_weighted=weighted, device=torch.device("meta"))
        self.top, self.width = top, tables[0].embedding_dim

    def forward(self, keys):
        rows = self.tables(keys).values().view(keys.stride(), -1, self.width)
        return self.top(rows, rows.new_zeros(len(rows), 0))


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
    top, rate = top_of(job, len(sizes), 0)
    return sharded(Model(tables_of(sizes, fields, width_of(job)), weighted, top), rate, ranks, ranks_of_host=1)


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
    fields = fields_of_ranks(sizes, ranks)
    batches = batches_of(folder, [field for own in fields for field in own], starts_of(sizes, fields), rank, ranks, job["batch"])
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
