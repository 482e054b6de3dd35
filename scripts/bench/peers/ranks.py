"""Two processes of one thread each, or one of two, joined by gloo, for the torch workers that need them."""

import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from noise import Meter
from torch_models import batches

CORES = 2


def run_on_ranks(main, job):
    """Call main(rank, job) in job["ranks"] processes, by default two; an error of one ends this process with its message."""
    ranks = job.get("ranks", CORES)
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_start, (str(Path(folder) / "meeting"), ranks, main, job), ranks)


def _start(rank, meeting, ranks, main, job):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(ranks))
    torch.set_num_threads(CORES // ranks)
    torch.manual_seed(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks)
    main(rank, job)
    dist.barrier()
    dist.destroy_process_group()


def share_of_batches(rank, rows):
    """This rank's part of each global batch of `rows` rows."""
    ranks = dist.get_world_size()

    def part(batch):
        begin, end = ((batch.stop - batch.start) * edge // ranks for edge in (rank, rank + 1))
        return slice(batch.start + begin, batch.start + end)

    return [part(batch) for batch in batches(0, rows)]


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
    tensors = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(tensors, tensor)
    return torch.cat(tensors)
