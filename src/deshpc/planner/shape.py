"""A built model as the `plan.cost.Run` that its bytes depend on: of a run that was made, or of one that is planned."""

from deshpc.exchange.with_replicated import WithReplicated
from deshpc.model.combinations import exchange_name
from deshpc.plan.cost import Run


def run_of(model, config, batches, n_fields, n_dense, value_width, weighted=False):
    """The Run of a model and its configuration.

    model : Model; its group says how many ranks there are, on which nodes, and by how many levels they exchange
    batches : ((samples of a batch, batches of so many), ...)
    n_fields : fields that become keys
    value_width : numbers beside each key, 0 to 2
    weighted : whether samples have weights
    """
    train, group, exchange = config.train, model.group, exchange_name(config)
    layout, sums = model.table.layout, model.table.sums_type
    sent, several_nodes = config.compute.backend != "cuda" and train.routing == "routed", len(group.nodes.members) > 1
    compact = sent and several_nodes
    widths = [table.layout.weights for table in model.table.of_shards]
    sizes = [table.layout.weights_bytes for table in model.table.of_shards]
    return Run(
        operator=model.operators.name, ranks=group.size, shards=len(model.table.of_shards), batches=batches, fields=n_fields,
        n_dense=n_dense, value_width=value_width, dense_parameters=model.dense_sums.sent,
        state_width=model.operators.width, row_width=min(widths), widest_row=max(widths), dim=layout.dim,
        row_bytes=layout.number.itemsize, packed_rows=(min(sizes), max(sizes)) if layout.halves else (), sum_bytes=sums.itemsize, exchange=exchange,
        whole_top=model.exchange.whole_top, moves_rows=model.exchange.moves_rows, routed=train.routing == "routed",
        clip=config.optimizer.clip_norm > 0, fixed_point=sums.kind == "i", own_terms=model.table.own_terms,
        field_widths=_field_widths(model.operators.operator) if exchange == "pooled" and group.size > 1 else (),
        batch_widths=tuple(width for name, (width, *_) in model.parameters.statistics.items() if name.endswith(".mean")),
        layer_width=model.operators.layer_width, local=model.dense_sums.local > 0, threads=model.backend.threads,
        repeats=model.operators.repeats, weighted=weighted, wire=0 if train.wire == "full" else 2, nodes=() if "flat" in group.levels.names else tuple(group.nodes.numbers),
        replicated_row=of_replicated(model, lambda exchange: exchange.row_bytes(value_width > 0)),
        listed=sent and not several_nodes and not model.exchange.moves_rows,
        labels=max(1, len(model.tasks)), numbered=compact and train.key_numbers != "off", tabled=compact and value_width > 0,
    )  # fmt: skip


def of_replicated(model, number):
    """number(exchange) of a model's replicated fields, 0 where there are none."""
    return number(model.exchange) if isinstance(model.exchange, WithReplicated) else 0


def _field_widths(pool):
    """Numbers of a state that each rank has complete: its fields' embeddings, and the first column where there is one."""
    return tuple(pool.embeddings_at + sum(end - begin for begin, end in own) for own in pool.places_of_ranks())
