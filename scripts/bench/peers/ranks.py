"""Two processes of one thread each, joined by gloo, for the torch workers that need them."""

import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from noise import Meter
from torch_models import batches

RANKS = 2


def run_on_ranks(main, job):
    """Call main(rank, job) in RANKS processes; an error of one ends this process with its message."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_start, (str(Path(folder) / "meeting"), main, job), RANKS)


def _start(rank, meeting, main, job):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(RANKS), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(RANKS))
    torch.set_num_threads(1)
    torch.manual_seed(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=RANKS)
    main(rank, job)
    dist.barrier()
    dist.destroy_process_group()


def share_of_batches(rank, rows):
    """This rank's half of each global batch of `rows` rows."""
    halves = [(batch.start + batch.stop) // 2 for batch in batches(0, rows)]
    return [
        slice(batch.start, half) if rank == 0 else slice(half, batch.stop)
        for batch, half in zip(batches(0, rows), halves, strict=True)
    ]


def measured(train):
    """What a Meter says of train() on all ranks together."""
    dist.barrier()
    meter = Meter()
    train()
    dist.barrier()
    return meter.stop(lambda seconds: float(summed(torch.tensor([seconds], dtype=torch.float64))))


def summed(tensor):
    """The sum of all ranks' tensors."""
    dist.all_reduce(tensor)
    return tensor


def gathered(tensor):
    """All ranks' tensors of one length, one after the other in the order of the ranks."""
    tensors = [torch.empty_like(tensor) for _ in range(RANKS)]
    dist.all_gather(tensors, tensor)
    return torch.cat(tensors)
