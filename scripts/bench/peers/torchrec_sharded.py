"""A torchrec model whose tables are whole on a rank each, with fused row-wise Adagrad; the same for all that train one."""

import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torch_models import ACCUMULATOR, RATE, first_weights
from torchrec import EmbeddingBagConfig
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.sharding_plan import construct_module_sharding_plan, table_wise
from torchrec.distributed.types import ShardingEnv, ShardingPlan


def fields_of_ranks(sizes, ranks):
    """[fields] of each rank: they take turns by size (rows)."""
    by_size = sorted(range(len(sizes)), key=sizes.__getitem__)
    return [by_size[owner::ranks] for owner in range(ranks)]


def starts_of(sizes, fields):
    """First row of each field in its rank's table.  fields : of `fields_of_ranks`"""
    starts = [0] * len(sizes)
    for own in fields:
        for before, field in zip(own, own[1:], strict=False):
            starts[field] = starts[before] + sizes[before]
    return starts


def tables_of(sizes, fields, width):
    """[EmbeddingBagConfig], one for each rank.  width : numbers of a row"""
    return [
        EmbeddingBagConfig(
            name=f"t{owner}", embedding_dim=width, num_embeddings=sum(sizes[field] for field in own), feature_names=[f"c{field}" for field in own],
        )
        for owner, own in enumerate(fields)
    ]  # fmt: skip


def sharded(model, rate, ranks, ranks_of_host):
    """(the model on its ranks, optimizer of its dense parameters, which torchrec's data-parallel wrapper trains).

    model : module with `tables`, an EmbeddingBagCollection of `tables_of`, and `top`
    rate : of its dense parameters
    """
    fused = {"optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD, "learning_rate": RATE, "eps": 1e-8}
    sharder = EmbeddingBagCollectionSharder(fused_params=fused)
    plan = construct_module_sharding_plan(
        model.tables, {f"t{owner}": table_wise(owner, compute_kernel="fused") for owner in range(ranks)},
        sharder, local_size=ranks_of_host, world_size=ranks, device_type="cpu",
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
